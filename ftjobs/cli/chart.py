"""A line chart in braille: two dots across and four down in every character."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Series = Sequence[tuple[int, float]]

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a braille character, by row and column."""

MARK = "◆"


@dataclass(frozen=True, slots=True)
class Cell:
    """One character, and the series it belongs to: "line", "mark", or "" for none."""

    char: str = " "
    of: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """Where values fall on a grid of `columns` by `rows` characters."""

    low: float
    high: float
    first: int
    last: int
    columns: int
    rows: int

    def x(self, step: int) -> int:
        """The dot column of a step."""
        span = max(self.last - self.first, 1)
        return round((step - self.first) / span * (2 * self.columns - 1))

    def y(self, value: float) -> int:
        """The dot row of a value, 0 on top."""
        top = self.high / 2  # of halves, the difference is always finite
        span = (top - self.low / 2) or 1.0
        return round((top - value / 2) / span * (4 * self.rows - 1))


def draw(
    line: Series, marks: Series, *, columns: int, rows: int, last: int | None = None
) -> tuple[list[list[Cell]], float, float]:
    """A grid of cells with `line` as a curve and `marks` as single points, and its (low, high).

    Steps run from the first one seen to `last` (the steps of the whole job, where known), so
    that the empty part is what is still to come.  Values that are no number are left out.
    """
    line, marks = _finite(line), _finite(marks)
    points = [*line, *marks]
    if not points:
        return [[Cell()] * columns for _ in range(rows)], 0.0, 0.0
    values = [value for _, value in points]
    low, high = min(values), max(values)
    steps = [step for step, _ in points]
    scale = Scale(low, high, min(steps), max(*steps, last or 0, 1), columns, rows)
    bits = [[0] * columns for _ in range(rows)]
    for x, y in _dots(line, scale):
        bits[y // 4][x // 2] |= DOTS[y % 4][x % 2]
    grid = [[Cell(chr(0x2800 + b), "line") if b else Cell() for b in row] for row in bits]
    for step, value in marks:
        grid[scale.y(value) // 4][scale.x(step) // 2] = Cell(MARK, "mark")
    return grid, low, high


def _finite(series: Series) -> list[tuple[int, float]]:
    return [(step, value) for step, value in series if math.isfinite(value)]


def _dots(line: Series, scale: Scale) -> Iterable[tuple[int, int]]:
    """Every dot of the curve: the points, and straight lines between them."""
    places = [(scale.x(step), scale.y(value)) for step, value in line]
    yield from places[:1]
    for (x0, y0), (x1, y1) in pairwise(places):
        count = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(1, count + 1):
            yield x0 + round((x1 - x0) * i / count), y0 + round((y1 - y0) * i / count)
