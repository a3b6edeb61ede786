import math

from hypothesis import given
from hypothesis import strategies as st

from ftjobs.cli.chart import MARK, Cell, draw


def text(grid: list[list[Cell]]) -> list[str]:
    return ["".join(cell.char for cell in row) for row in grid]


def test_a_falling_line() -> None:
    grid, low, high = draw([(0, 1.0), (7, 0.0)], (), columns=4, rows=2)
    assert text(grid) == ["⠑⢄  ", "  ⠑⢄"]
    assert (low, high) == (0.0, 1.0)


def test_what_is_to_come_is_empty() -> None:
    grid, _, _ = draw([(1, 1.0), (2, 0.5)], (), columns=10, rows=3, last=100)
    assert all(row[1:].strip() == "" for row in text(grid))


def test_marks_lie_on_the_line() -> None:
    grid, low, high = draw([(1, 1.0), (3, 1.0)], [(3, 0.0)], columns=3, rows=2)
    assert text(grid)[1] == f"  {MARK}"
    assert (low, high) == (0.0, 1.0)


def test_no_points_is_an_empty_grid() -> None:
    assert text(draw((), (), columns=3, rows=2)[0]) == ["   ", "   "]
    assert text(draw([(1, math.nan)], [(2, math.inf)], columns=3, rows=1)[0]) == ["   "]


series = st.lists(
    st.tuples(st.integers(0, 10**6), st.floats(width=32)), unique_by=lambda p: p[0]
).map(sorted)


@given(series, series, st.integers(1, 40), st.integers(1, 12), st.none() | st.integers(0, 10**6))
def test_any_series_fits_its_grid(
    line: list[tuple[int, float]],
    marks: list[tuple[int, float]],
    columns: int,
    rows: int,
    last: int | None,
) -> None:
    grid, low, high = draw(line, marks, columns=columns, rows=rows, last=last)
    assert [len(row) for row in grid] == [columns] * rows
    assert low <= high
    drawn = {cell.of for row in grid for cell in row}
    assert ("mark" in drawn) == any(math.isfinite(v) for _, v in marks)
    assert drawn <= {"", "line", "mark"}


def test_the_widest_span_of_values_is_drawn() -> None:
    grid, low, high = draw([(1, 1e308), (2, -1e308)], (), columns=2, rows=2)
    assert (low, high) == (-1e308, 1e308)
    assert text(grid)[0].strip()
    assert text(grid)[1].strip()
