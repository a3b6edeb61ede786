"""The metrics of `text_similarity`, by OpenAI's names, from ftjobs' own graders of texts."""

from __future__ import annotations

from collections.abc import Callable

from ftjobs.errors import UnsupportedError
from ftjobs.evals.graders.base import Function
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Mark
from ftjobs.schema import ChatMessage

__all__ = ["similarity"]

ASKED = (ChatMessage(role="user", content=""),)
"""What was asked does not matter to these."""

LACKING = {
    "meteor": "METEOR needs WordNet, which has to be downloaded",
    "cosine": "cosine needs a model of embeddings",
}


def similarity(metric: str, name: str) -> Callable[[str, str], float | None]:
    """A function of (text, reference) → 0 to 1, for the grader called `name`.

    It gives None where there is nothing to compare with.

    Raises:
        UnsupportedError: the metric cannot be had offline.
        ConfigError: it needs a library that is not installed.
    """
    if metric in LACKING:
        raise UnsupportedError(
            f"the grader {name}: {LACKING[metric]}",
            hint="fuzzy_match, bleu, gleu and rouge_1 to rouge_5 and rouge_l can be had.",
        )
    function = _function(metric)

    def measure(text: str, reference: str) -> float | None:
        found = function.score(Answer(text=text), Prompt(ASKED, reference))
        score = found.score if isinstance(found, Mark) else found
        return None if score is None else float(score)

    return measure


def _function(metric: str) -> Function:
    from ftjobs.evals import graders

    match metric.removeprefix("rouge_"):
        case "fuzzy_match":
            return graders.fuzzy()
        case "bleu":
            return graders.bleu()
        case "gleu":
            return graders.gleu()
        case "l":
            return graders.rouge_l()
        case n:
            return graders.rouge_n(int(n))
