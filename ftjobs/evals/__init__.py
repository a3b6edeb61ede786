"""Comparing models: prompts, arms, graders, judges, statistics, the run."""

from ftjobs.evals import graders
from ftjobs.evals.arms import Arm, Price
from ftjobs.evals.prompts import Prompt, read_prompts
from ftjobs.evals.result import Comparison, Gate
from ftjobs.evals.run import compare

__all__ = [
    "Arm",
    "Comparison",
    "Gate",
    "Price",
    "Prompt",
    "compare",
    "graders",
    "read_prompts",
]
