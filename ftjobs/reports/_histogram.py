"""A histogram as plain text: a line a bin, a bar as long as its count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a report needs no library but the standard one
    from ftjobs.data.stats import Histogram

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def histogram(values: Histogram, *, columns: int = 40, ascii_only: bool = False) -> Iterator[str]:
    """Lines of a bin's range, bar and count; bars have at most `columns` (1 or more).

    Every bin that is not empty has a bar, however short.
    """
    ranges = [
        f"{start:,}" if end == start + 1 else f"{start:,}–{end - 1:,}"
        for start, end in zip(values.edges, values.edges[1:], strict=False)
    ]
    if ascii_only:
        ranges = [one.replace("–", "-") for one in ranges]
    longest, most = max(map(len, ranges)), max(values.counts)
    for place, count in zip(ranges, values.counts, strict=True):
        drawn = f"{bar(count / most, columns, ascii_only=ascii_only)} " if count else ""
        yield f"{place:>{longest}}  {drawn}{count:,}"


def bar(share: float, columns: int, *, ascii_only: bool = False) -> str:
    """A bar for a share above 0 and at most 1 of so many columns; never empty."""
    if ascii_only:
        return "#" * max(1, round(share * columns))
    full, rest = divmod(max(1, round(share * columns * 8)), 8)
    return "█" * full + _EIGHTHS[rest].strip()


def quantiles(values: Histogram) -> str:
    """Smallest, 5th percentile, median, 95th percentile, largest, mean and sum in one line."""
    return (
        f"min {values.minimum:,}  p5 {values.p5:,}  median {values.p50:,}  p95 {values.p95:,}  "
        f"max {values.maximum:,}  mean {values.mean:,.1f}  sum {values.total:,}"
    )
