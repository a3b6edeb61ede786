"""Comparing a base model with its tuned model: prompts, graders, the run."""

from ftjobs.evals import graders
from ftjobs.evals.prompts import Prompt, read_prompts
from ftjobs.evals.run import Answer, Comparison, Row, compare

__all__ = ["Answer", "Comparison", "Prompt", "Row", "compare", "graders", "read_prompts"]
