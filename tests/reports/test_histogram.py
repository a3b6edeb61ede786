"""Histograms as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data.stats import Histogram, Tally
from ftjobs.reports._histogram import bar, histogram, quantiles
from ftjobs.reports.cells import width

VALUES = Histogram(
    edges=(8, 9, 10, 1200),
    counts=(4, 0, 1),
    minimum=8,
    p5=8,
    p50=8,
    p95=1100,
    maximum=1100,
    mean=226.4,
    total=1132,
)


def test_a_line_a_bin() -> None:
    assert list(histogram(VALUES, columns=8)) == [
        "       8  ████████ 4",
        "       9  0",
        "10–1,199  ██ 1",
    ]
    assert list(histogram(VALUES, columns=8, ascii_only=True))[2] == "10-1,199  ## 1"


def test_quantiles_are_named_for_what_they_are() -> None:
    assert quantiles(VALUES) == (
        "min 8  p5 8  median 8  p95 1,100  max 1,100  mean 226.4  sum 1,132"
    )


@given(st.floats(0, 1, exclude_min=True, allow_subnormal=False), st.integers(1, 80), st.booleans())
def test_a_bar_is_never_empty_and_never_too_long(share: float, columns: int, plain: bool) -> None:
    assert 1 <= width(bar(share, columns, ascii_only=plain)) <= columns


@pytest.mark.parametrize("plain", [True, False])
@given(values=st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_every_count_is_shown(values: list[int], plain: bool) -> None:
    tally = Tally()
    for value in values:
        tally.add(value)
    found = tally.histogram()
    assert found is not None
    lines = list(histogram(found, ascii_only=plain))
    assert sum(int(line.split()[-1].replace(",", "")) for line in lines) == len(values)
