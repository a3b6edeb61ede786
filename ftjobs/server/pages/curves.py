"""Curves over steps as inline SVG: legible in light and dark, at any width, without a script.

The drawing stretches with the page; marks and labels keep their size.  However long a job is, a
curve has at most some hundred points: of each narrow strip of steps, the lowest and the highest
value, so that no spike is lost (M4, Jugel et al. 2014, doi:10.14778/2732951.2732953).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

from markupsafe import Markup

from ftjobs.jobs.progress import Progress, Series
from ftjobs.reports.axis import Axis
from ftjobs.reports.page import safe
from ftjobs.reports.words import many

__all__ = ["Line", "chart", "charts", "thinned"]

STRIPS = 300
"""Strips of steps that a curve is drawn in."""

DENSE = 300
"""Points from which on a curve is drawn thinner, so that it does not cover the other one."""

SHORT = 100
"""Steps up to which a job's whole width is kept free from the start."""

MARKED = 40
"""Points up to which each has a mark of its own."""

LARGEST = 1e12
"""A value beyond this is not drawn: the rest would be a line at the bottom."""

_SIZE = 1000
"""Width and height of the drawing, in its own units."""


class Line(NamedTuple):
    """One curve: its name, its style ("train" or "valid"), and its points."""

    name: str
    style: str
    points: Series


def charts(progress: Progress) -> Markup:
    """Loss and token accuracy of a job as two figures; nothing of a job that ended without any."""
    seen = progress
    losses = _lines(seen.train, seen.valid)
    accuracies = _lines(seen.train_accuracy, seen.valid_accuracy)
    if seen.job.ended and not any(line.points for line in (*losses, *accuracies)):
        return Markup("")
    figures = [
        chart("Loss", "nats a token", losses, last=_horizon(seen)),
        chart("Token accuracy", "0 to 1", accuracies, last=_horizon(seen)),
    ]
    return Markup("").join(figures)


def _horizon(seen: Progress) -> int | None:
    """The last step, halved until what was done fills a quarter: how a long job begins is seen."""
    last = seen.total
    while last and last > max(4 * (seen.step or 0), SHORT):
        last = -(-last // 2)
    return last


def _lines(train: Series, valid: Series) -> list[Line]:
    return [Line("training", "train", train), Line("validation", "valid", valid)]


def chart(title: str, unit: str, lines: Sequence[Line], *, last: int | None) -> Markup:
    """A figure of curves over steps.

    Args:
        title: what the values are.
        unit: theirs.
        lines: curves; those without a point are left out.
        last: up to which step there is room at least: what is empty is still to come.
    """
    finite = [(line, _finite(line.points)) for line in lines]
    lost = sum(len(line.points) - len(points) for line, points in finite)
    drawn = [line._replace(points=thinned(points)) for line, points in finite if points]
    return Markup("\n".join(_figure(title, unit, drawn, last, lost)))  # noqa: S704 - numbers, ours


def _finite(points: Series) -> Series:
    return tuple(point for point in points if -LARGEST <= point[1] <= LARGEST)


def _figure(
    title: str, unit: str, lines: Sequence[Line], last: int | None, lost: int
) -> Iterator[str]:
    yield f'<figure class="curves"><figcaption><h2>{safe(title)} <small>{safe(unit)}</small></h2>'
    yield f'<p class="legend">{"".join(map(_key, lines))}</p></figcaption>'
    if lines:
        yield from _drawing(title, lines, last)
    else:
        yield '<p class="nothing">No values yet.</p>'
    if lost:
        yield f'<p class="note">{many(lost, "value")} not drawn: no numbers, or too large.</p>'
    yield "</figure>"


def _key(line: Line) -> str:
    step, value = line.points[-1]
    return (
        f'<span class="key {line.style}"><i></i>{line.name} '
        f'<b data-line="{line.style}">{value:.4f}</b> '
        f'<small data-step="{line.style}">step {step:,}</small></span>'
    )


def _drawing(title: str, lines: Sequence[Line], last: int | None) -> Iterator[str]:
    steps = [step for line in lines for step in (line.points[0][0], line.points[-1][0])]
    across = _axis([*steps, *([last] if last else [])], margin=0.0)
    up = _axis([value for line in lines for _, value in line.points], margin=0.06)
    yield (
        f'<svg class="plot" role="img" aria-label="{safe(_told(title, lines))}" '
        f'data-first="{across.low:g}" data-last="{across.high:g}">'
    )
    yield from _grid(across, up)
    whole = 'width="100%" height="100%" preserveAspectRatio="none"'
    yield f'<svg viewBox="0 0 {_SIZE} {_SIZE}" {whole}>'
    for line in lines:
        values = " ".join(f"{step},{value:.6g}" for step, value in line.points)
        yield (
            f'<polyline class="{line.style}{" dense" if len(line.points) > DENSE else ""}" '
            f'points="{_places(line.points, across, up)}" '
            f'data-values="{values}"/>'
        )
    yield "</svg>"
    for line in lines:
        if len(line.points) == 1 or (line.style == "valid" and len(line.points) <= MARKED):
            yield from _marks(line, across, up)
    yield '<line class="cursor" x1="0" x2="0" y1="0" y2="100%"/></svg>'


def _axis(values: Sequence[float], *, margin: float) -> Axis:
    low, high = min(values), max(values)
    if low == high:
        room = (abs(low) * 0.1 or 1.0) if margin else 1.0
        down = room if low < 0 or low >= room else 0.0
        return Axis(low - down if margin else low, high + room, 1.0)
    room = (high - low) * margin
    return Axis(low - room if low < 0 or low > room else 0.0, high + room, 1.0)


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for value in up.ticks():
        y = f"{100 - up.at(value):.2f}%"
        yield f'<line class="rule" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        yield f'<text class="up" x="-8" y="{y}" dy=".32em">{_mark(value)}</text>'
    for value in across.ticks():
        if value == round(value):
            x = f"{across.at(value):.2f}%"
            yield f'<text class="across" x="{x}" y="100%" dy="1.5em">{value:,.0f}</text>'
    yield '<text class="across name" x="50%" y="100%" dy="3em">step</text>'


def _mark(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")


def _places(points: Series, across: Axis, up: Axis) -> str:
    return " ".join(f"{_x(step, across):.1f},{_y(value, up):.1f}" for step, value in points)


def _x(step: int, across: Axis) -> float:
    return across.at(step) * _SIZE / 100


def _y(value: float, up: Axis) -> float:
    return _SIZE - up.at(value) * _SIZE / 100


def _marks(line: Line, across: Axis, up: Axis) -> Iterator[str]:
    for step, value in line.points:
        x, y = across.at(step), 100 - up.at(value)
        yield f'<circle class="{line.style}" cx="{x:.2f}%" cy="{y:.2f}%" r="3.5"/>'


def _told(title: str, lines: Sequence[Line]) -> str:
    said = []
    for line in lines:
        (first, start), (last, end) = line.points[0], line.points[-1]
        so_far = f"{start:.4f} at step {first:,}"
        said.append(
            f"{line.name} {so_far}" + (f", {end:.4f} at step {last:,}" if last > first else "")
        )
    return f"{title}: {'; '.join(said)}"


def thinned(points: Series, strips: int = STRIPS) -> Series:
    """The points that matter: the first, the last, and of each strip the lowest and the highest."""
    if len(points) <= 2 * strips:
        return points
    first, last = points[0][0], points[-1][0]
    chosen, start = [points[0]], 0
    for strip in range(1, strips + 1):
        end = bisect_right(points, first + (last - first) * strip / strips, key=itemgetter(0))
        if part := points[start:end]:
            chosen += sorted({min(part, key=itemgetter(1)), max(part, key=itemgetter(1))})
        start = end
    return tuple(dict.fromkeys((*chosen, points[-1])))
