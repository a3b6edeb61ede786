"""Models as judges: one by one, in pairs, and by OpenAI's grader JSON.

    judge = JudgeModel(client.backend, "gpt-4o")
    client.compare(prompts, base=…, tuned=…, graders=[pairwise(judge)])

What a judge may favour beside quality (the first seat, length, its own family) is measured by
`biases`, which every judge brings along.
"""

from __future__ import annotations

from ftjobs.evals.judges.base import JUDGING, JudgeModel
from ftjobs.evals.judges.bias import biases
from ftjobs.evals.judges.families import family_of
from ftjobs.evals.judges.hosted import Imported
from ftjobs.evals.judges.loading import load, load_openai, load_pairwise, load_pointwise
from ftjobs.evals.judges.openai import read_grader, read_graders
from ftjobs.evals.judges.pairwise import Pairwise, pairwise
from ftjobs.evals.judges.pointwise import Pointwise, pointwise

__all__ = [
    "JUDGING",
    "Imported",
    "JudgeModel",
    "Pairwise",
    "Pointwise",
    "biases",
    "family_of",
    "load",
    "load_openai",
    "load_pairwise",
    "load_pointwise",
    "pairwise",
    "pointwise",
    "read_grader",
    "read_graders",
]
