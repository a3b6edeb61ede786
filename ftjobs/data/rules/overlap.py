"""Rows against rows and file against file: FT8xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT801",
        "the same row again",
        "warning",
        "Every copy is trained on and billed; rows seen more often are learned by heart.",
        "Keep one of them, unless it is meant to weigh more.",
        fixable="unsafe",
    ),
    Rule(
        "FT802",
        "one prompt with different answers",
        "warning",
        "The answers pull the model in different directions: it learns neither of them for sure.",
        "Keep the right answer, or say in the prompt what decides between them.",
    ),
    Rule(
        "FT803",
        "nearly the same as an earlier row",
        "warning",
        "Rows that differ in a word or two teach little more than one of them, and cost the same.",
        "Keep one of them, or vary them more.",
    ),
    Rule(
        "FT811",
        "row that is also in another file",
        "warning",
        "A model that was trained on a row it is measured by looks better than it is.",
        "Remove it from one of the files; ftjobs data split keeps copies on one side.",
    ),
    Rule(
        "FT812",
        "prompt that is also in another file",
        "warning",
        "The model has seen an answer to the question it is measured by, so the result flatters.",
        "Remove it from one of the files; ftjobs data split keeps each prompt on one side.",
    ),
    Rule(
        "FT813",
        "nearly the same as a row of another file",
        "warning",
        "What is learned from the one helps with the other, so the measurement flatters.",
        "Remove it from one of the files; ftjobs data split --near 0.8 keeps such rows together.",
    ),
)
