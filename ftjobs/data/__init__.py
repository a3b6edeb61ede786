"""Files → checked datasets, or every issue with its place.

    report = check("train.jsonl", target="openai")   # never raises for bad content
    dataset = read("train.jsonl")                    # raises DatasetError if there are errors
    explain("FT401").why

Three tiers look at every line: `plain` accepts blocks of simple rows, `fast` single rows of every
kind with nothing to report, and `slow` explains the rest in full.  `rules` is the table of codes.
"""

from ftjobs.data.checker import Manifest, Report, check, check_all
from ftjobs.data.dataset import Dataset, read
from ftjobs.data.rules import RULES, Rule, explain
from ftjobs.data.targets import TARGETS, Target

__all__ = [
    "RULES",
    "TARGETS",
    "Dataset",
    "Manifest",
    "Report",
    "Rule",
    "Target",
    "check",
    "check_all",
    "explain",
    "read",
]
