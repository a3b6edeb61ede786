"""The numbers of a comparison as texts: arms by graders, and those of the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ftjobs.evals.figures import least, mean_text, p_text, told, unit_of
from ftjobs.evals.result import Comparison, Contrast
from ftjobs.reports.comparison import _words as words

__all__ = ["Line", "heads", "sections", "values"]


def values(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """The verdict and its numbers as JSON has them; "" where there is none."""
    verdict = comparison.verdict
    yield "verdict", "" if verdict is None else verdict.word
    for name in ("sentence", "arm", "baseline", "grader"):
        yield name, "" if verdict is None else str(getattr(verdict, name))
    of = None if verdict is None else comparison.contrast(verdict.grader, verdict.arm)
    for name in ("difference", "low", "high", "p", "n"):
        number = None if of is None else getattr(of, name)
        yield name, "" if number is None else repr(number)


class Line(NamedTuple):
    """An arm's line in the table of a grader; "" where there is nothing to say."""

    arm: str
    mean: str = ""
    difference: str = ""
    interval: str = ""
    p: str = ""
    n: str = ""
    counts: str = ""
    detects: str = ""


def heads(comparison: Comparison) -> tuple[str, ...]:
    """The titles of what follows the arm in a line; wins, ties and losses are + / = / −."""
    interval = f"{comparison.confidence * 100:g} % CI"
    return "mean ± SE", "difference", interval, "p (Holm)", "n", "+ / = / −", "detects"


def sections(comparison: Comparison) -> Iterator[tuple[str, list[Line]]]:
    """A title and lines for each grader on each set, baseline first."""
    keys = dict.fromkeys((each.set, each.grader) for each in comparison.contrasts)
    for key in keys:
        found = [each for each in comparison.contrasts if (each.set, each.grader) == key]
        yield _title(found[0]), list(_lines(found, comparison.confidence))


def _title(contrast: Contrast) -> str:
    unit = {"": "", "win rate": ", win rate in %"}.get(
        unit_of(contrast), f", in {unit_of(contrast)}"
    )
    name = f"{words.contents(contrast.grader)}{unit}"
    return f"{words.contents(contrast.set)}: {name}" if contrast.set else name


def _lines(found: Sequence[Contrast], confidence: float) -> Iterator[Line]:
    first = found[0]
    if first.means is not None:
        base = mean_text(first.means[0], unit_of(first))
        yield Line(words.contents(first.baseline), base, n=f"{first.means[0].n:,}")
    for contrast in found:
        yield _line(contrast, confidence)


def _line(contrast: Contrast, confidence: float) -> Line:
    unit, numbers = unit_of(contrast), told(contrast)
    p = contrast.p if contrast.p_adjusted is None else contrast.p_adjusted
    clusters = "" if contrast.clusters is None else f" in {contrast.clusters:,}"
    return Line(
        words.contents(contrast.arm),
        "" if contrast.means is None else mean_text(contrast.means[1], unit),
        numbers.difference,
        f"{numbers.low} to {numbers.high}",
        "" if p is None else p_text(p, round(1 - confidence, 12)),
        f"{contrast.n:,}{clusters}",
        f"{contrast.wins:,} / {contrast.ties:,} / {contrast.losses:,}",
        "" if contrast.detectable is None else least(contrast.detectable, unit),
    )
