"""A grader of short labels, with the report on a classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftjobs.evals.arms import Ask
from ftjobs.evals.graders.base import Item, of_texts
from ftjobs.evals.graders.normal import normal
from ftjobs.evals.result import LabelReport, Mark

__all__ = ["MOST_LABELS", "Labels", "labels"]

MOST_LABELS = 50
"""More different expected answers than this are no labels, and have no report."""

LONGEST = 10_000
"""Characters of an answer that are read: more is no label."""

OTHER = ""
"""Stands for every answer that is none of the labels."""


def labels() -> Labels:
    """1 if the answer is the expected label, both normalised as by `normalised`; else 0.

    Each arm gets a `LabelReport` on each set, if there are at most `MOST_LABELS` labels.  An
    answer with words around its label is another label: have the prompt ask for the label alone,
    or use `contains`.
    """
    return Labels()


@dataclass(frozen=True, slots=True)
class Labels:
    """A grader that reports; see `labels`."""

    name: str = "labels"
    kind: Literal["binary", "continuous"] = "binary"
    about: str = "the expected label, but for width, case, punctuation and white space"

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        """A mark for each item."""
        found = _spellings(items)
        note = (
            "" if len(found) <= MOST_LABELS else f"{len(found):,} different answers are no labels"
        )

        def score(answer: str, expected: str) -> Mark | None:
            if not (wanted := normal(expected)):
                return None
            return Mark(score=_label(answer) == wanted, note=note)

        return of_texts(self.name, score, kind="binary").grade(items, ask)

    def report(self, items: Sequence[Item]) -> LabelReport | None:
        """The report on the items of one arm and set.

        None without any label, or with more than `MOST_LABELS`.  Labels are shown as they are
        first spelt, in the order of how often they are expected.
        """
        spellings = _spellings(items)
        if not 0 < len(spellings) <= MOST_LABELS:
            return None
        pairs = [
            (wanted, said if (said := _label(item.answer.text)) in spellings else OTHER)
            for item in items
            if (wanted := normal(item.prompt.expected or ""))
        ]
        return _report(self.name, items[0].arm.name, spellings, Counter(pairs))


def _label(answer: str) -> str:
    return normal(answer[:LONGEST])


def _spellings(items: Sequence[Item]) -> dict[str, str]:
    """How each label is spelt where it comes first; the most frequent label first."""
    spellings: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for item in items:
        if label := normal(item.prompt.expected or ""):
            spellings.setdefault(label, (item.prompt.expected or "").strip())
            counts[label] += 1
    return {label: spellings[label] for label, _ in counts.most_common()}


def _report(
    grader: str, arm: str, spellings: dict[str, str], pairs: Counter[tuple[str, str]]
) -> LabelReport:
    names = [*spellings, *([OTHER] if any(said == OTHER for _, said in pairs) else [])]
    confusion = [[pairs[wanted, said] for said in names] for wanted in names]
    right = [row[place] for place, row in enumerate(confusion)]
    wanted = [sum(row) for row in confusion]
    said = [sum(column) for column in zip(*confusion, strict=True)]
    f1 = [
        2 * hits / (there + chosen) if there else None
        for hits, there, chosen in zip(right, wanted, said, strict=True)
    ]
    known = [each for each in f1 if each is not None]
    return LabelReport(
        grader=grader,
        arm=arm,
        accuracy=sum(right) / pairs.total(),
        macro_f1=sum(known) / len(known),
        labels=tuple(spellings.get(name, OTHER) for name in names),
        precision=tuple(map(_share, right, said)),
        recall=tuple(map(_share, right, wanted)),
        f1=tuple(f1),
        confusion=tuple(map(tuple, confusion)),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
