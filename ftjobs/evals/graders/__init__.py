"""Graders: small functions that score an answer against the expected one, from 0 to 1.

A grader of your own is `Grader("name", function)` with `function(answer, expected) -> float`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from ftjobs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Grader:
    """A named score of (answer, expected), from 0 (worst) to 1 (best)."""

    name: str
    score: Callable[[str, str], float]

    def __call__(self, answer: str, expected: str) -> float:
        """The score of `answer`."""
        return self.score(answer, expected)


def exact() -> Grader:
    """1 if the answer is the expected text, else 0; outer white space and NFC form aside."""
    return Grader("exact", _exact)


def chrf() -> Grader:
    """chrF2: F-score of character 1- to 6-grams, recall weighted twice, from 0 to 1.

    Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", as sacrebleu
    computes it (which prints it times 100).  It suits languages without spaces.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise ConfigError(
            "the chrf grader needs sacrebleu", hint="pip install 'ftjobs[evals]'"
        ) from None
    metric = CHRF()
    return Grader(
        "chrf", lambda answer, expected: metric.sentence_score(answer, [expected]).score / 100
    )


def _exact(answer: str, expected: str) -> float:
    return float(_normal(answer) == _normal(expected))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
