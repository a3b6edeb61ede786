r"""Graders: small functions that score an answer, or say which of two is better.

    graders.exact()
    graders.named("regex:^\d+$")
    graders.Function("short", lambda answer, prompt: len(answer.text) < 80, "binary")

Scores are from 0 (worst) to 1 (best), but for `perplexity`.  Each grader of one's own is a
`Function`, or whatever meets `Grader` or `PairGrader`.  Those of this package take time linear in
the answer, or read no more of it than they say: a megabyte takes two seconds at most.
"""

from ftjobs.evals.graders.base import (
    Biased,
    Function,
    Grader,
    Item,
    Pair,
    PairGrader,
    Reports,
    of_texts,
)
from ftjobs.evals.graders.calls import tool_calls
from ftjobs.evals.graders.labels import labels
from ftjobs.evals.graders.likelihood import perplexity, token_accuracy
from ftjobs.evals.graders.overlap import bleu, chrf, fuzzy, gleu, rouge_l, rouge_n
from ftjobs.evals.graders.registry import known, named
from ftjobs.evals.graders.structure import json_schema
from ftjobs.evals.graders.text import contains, exact, normalised, regex

__all__ = [
    "Biased",
    "Function",
    "Grader",
    "Item",
    "Pair",
    "PairGrader",
    "Reports",
    "bleu",
    "chrf",
    "contains",
    "exact",
    "fuzzy",
    "gleu",
    "json_schema",
    "known",
    "labels",
    "named",
    "normalised",
    "of_texts",
    "perplexity",
    "regex",
    "rouge_l",
    "rouge_n",
    "token_accuracy",
    "tool_calls",
]
