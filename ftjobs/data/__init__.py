"""Files → checked datasets, or every issue with its place.

    report = check("train.jsonl", target="openai")   # never raises for bad content
    dataset = read("train.jsonl")                    # raises DatasetError if there are errors
    explain("FT401").why

Two tiers look at every line: `fast` accepts what has nothing to report, `slow` explains the
rest in full.  `rules` is the table of codes.
"""

from ftjobs.data.checker import Manifest, Report, check
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
    "explain",
    "read",
]
