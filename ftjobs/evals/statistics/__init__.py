"""The statistics of a paired comparison: differences, intervals, tests, power, verdict.

    effect = paired(baseline_scores, arm_scores, kind="binary")
    word = decide(effect.low, effect.high, Gate(rule="non-inferior", margin=0.02))

Importing this needs numpy.
"""

from __future__ import annotations

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
