"""The file as a whole: FT5xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT501",
        "no examples",
        "error",
        "There is nothing to train on.",
        "Write one example a line.",
    ),
    Rule(
        "FT502",
        "too few examples",
        "error",
        "Hosted services fail the job after the upload; start with 50 to 100 examples.",
        "Add examples.",
    ),
    Rule(
        "FT503",
        "examples of different methods",
        "error",
        "A job trains with one method, decided by the first example of the file.",
        "Split the file, one method each.",
    ),
    Rule(
        "FT504",
        "file changed while it was read",
        "error",
        "The findings may belong to neither version of it.",
        "Check it again when nothing writes to it.",
    ),
)
