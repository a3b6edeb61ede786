"""The statistics of a paired comparison: differences, intervals, tests, power, verdict.

    effect = paired(baseline_scores, arm_scores, kind="binary")
    word = decide(effect.low, effect.high, Gate(rule="non-inferior", margin=0.02))

Importing this raises ConfigError where numpy is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from ftjobs.errors import ConfigError

if find_spec("numpy") is None:
    raise ConfigError(
        "numpy is not installed, and comparisons are computed with it",
        hint="pip install 'ftjobs[evals]'",
    )

from ftjobs.evals.statistics.effect import Effect, mean, paired, preference
from ftjobs.evals.statistics.power import detectable, needed
from ftjobs.evals.statistics.significance import holm
from ftjobs.evals.statistics.verdict import bar, decide

__all__ = [
    "Effect",
    "bar",
    "decide",
    "detectable",
    "holm",
    "mean",
    "needed",
    "paired",
    "preference",
]
