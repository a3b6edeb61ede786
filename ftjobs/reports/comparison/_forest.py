"""The forest plot: every contrast's difference and interval around nought, as inline SVG.

Labels and numbers are HTML, so that they keep their size at any width; only the strips stretch.
A filled dot means that the interval leaves out nought, a hollow one that it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from ftjobs.evals.figures import bar_of, told, unit_of
from ftjobs.evals.result import Comparison, Contrast, Gate
from ftjobs.reports.axis import Axis
from ftjobs.reports.page import bdi, safe

__all__ = ["MOST", "forest", "strip"]

MOST = 200
"""Contrasts that are drawn; the table below the plot has all."""

_HEIGHT = 20


def forest(comparison: Comparison) -> Iterator[str]:
    """A figure for each unit: points for scores and win rates, and one for every other scale."""
    verdict, shown = comparison.verdict, comparison.contrasts[:MOST]
    for unit, contrasts in _by_unit(shown).items():
        decides = verdict is not None and any(each.grader == verdict.grader for each in contrasts)
        gate = verdict.gate if verdict is not None and decides else None
        yield from _figure(contrasts, unit, gate, comparison)
    if (more := len(comparison.contrasts) - len(shown)) > 0:
        yield f'<p class="note">{more:,} more contrasts are in the table alone.</p>'


def _by_unit(contrasts: Sequence[Contrast]) -> dict[str, list[Contrast]]:
    groups: dict[str, list[Contrast]] = {}
    for contrast in contrasts:
        unit: str = unit_of(contrast)
        name = {"win rate": "points", "": contrast.grader}.get(unit, unit)
        groups.setdefault(name, []).append(contrast)
    return groups


def _figure(
    contrasts: Sequence[Contrast], unit: str, gate: Gate | None, comparison: Comparison
) -> Iterator[str]:
    bar = 0.0 if gate is None else bar_of(gate)
    axis = _axis(contrasts, unit, bar)
    yield '<figure class="forest">'
    yield f"<figcaption>{_caption(unit, bar, axis, comparison)}</figcaption>"
    for (name, grader), group in groupby(contrasts, lambda each: (each.set, each.grader)):
        of_set = f" on {bdi(name)}" if name else ""
        yield f'<h3 class="group">{bdi(grader)}{of_set}</h3><ul>'
        for contrast in group:
            yield from _line(contrast, axis, bar)
        yield "</ul>"
    yield from _scale(axis)
    yield "</figure>"


def _axis(contrasts: Sequence[Contrast], unit: str, bar: float) -> Axis:
    size = 100.0 if unit == "points" else 1.0
    values = [0.0, bar, *(value for each in contrasts for value in (each.low, each.high))]
    known = [value for value in values if math.isfinite(value)]
    low, high = min(known), max(known)
    margin = (high - low) * 0.04 or 0.01
    return Axis(low - margin, high + margin, size)


def _caption(unit: str, bar: float, axis: Axis, comparison: Comparison) -> str:
    scale = "points" if unit == "points" else "nats" if unit == "nats" else f"units of {bdi(unit)}"
    gate = f" The dashed line is the gate’s, at {bar * axis.size:g}." if bar else ""
    return (
        f"Difference to {bdi(comparison.baseline)} in {scale}, with "
        f"{comparison.confidence * 100:g} % intervals; right of 0 is better. "
        f"A filled dot: the interval leaves out 0.{gate.replace('-', '−')}"
    )


def _line(contrast: Contrast, axis: Axis, bar: float) -> Iterator[str]:
    numbers = told(contrast)
    unit = " %" if numbers.unit == "win rate" else ""
    words = f"{numbers.difference}{unit}"
    span = f"{numbers.low} to {numbers.high}"
    sure = contrast.low > 0 or contrast.high < 0
    values = contrast.low, contrast.difference, contrast.high
    yield '<li class="line">'
    yield f'<span class="arm">{bdi(contrast.arm)}</span>'
    yield strip(
        axis.at(0), [axis.at(value) for value in values], filled=sure, bar=bar and axis.at(bar)
    )
    yield f'<span class="number"><b>{safe(words)}</b> <span>{safe(span)}</span></span>'
    yield "</li>"


def strip(zero: float, places: Sequence[float], *, filled: bool, bar: float = 0) -> str:
    """An interval as SVG, hidden from readers of the words beside it.

    Args:
        zero: where nought is, from 0 to 100.
        places: where (low, middle, high) are.
        filled: how the dot is drawn.
        bar: where the gate's bar is; 0 for none.
    """
    low, middle, high = (f"{place:.2f}" for place in places)
    half = _HEIGHT // 2
    lines = [
        f'<line class="zero" x1="{zero:.2f}" x2="{zero:.2f}" y1="0" y2="{_HEIGHT}"/>',
        f'<line class="bar" x1="{bar:.2f}" x2="{bar:.2f}" y1="0" y2="{_HEIGHT}"/>' if bar else "",
        f'<line class="span" x1="{low}" x2="{high}" y1="{half}" y2="{half}"/>',
        *(f'<line class="span" x1="{x}" x2="{x}" y1="6" y2="14"/>' for x in (low, high)),
        f'<line class="dot" x1="{middle}" x2="{middle}" y1="{half}" y2="{half}"/>',
        ""
        if filled
        else f'<line class="hole" x1="{middle}" x2="{middle}" y1="{half}" y2="{half}"/>',
    ]
    return (
        f'<svg aria-hidden="true" viewBox="0 0 100 {_HEIGHT}" preserveAspectRatio="none">'
        f"{''.join(lines)}</svg>"
    )


def _scale(axis: Axis) -> Iterator[str]:
    marks = "".join(
        f'<text x="{axis.at(value):.2f}%" y="14">{value * axis.size:g}</text>'.replace("-", "−")
        for value in axis.ticks()
    )
    plot = f"<span></span><svg>{marks}</svg><span></span>"
    yield f'<div class="line scale" aria-hidden="true">{plot}</div>'
