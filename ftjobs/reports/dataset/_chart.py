"""Histograms as inline SVG: no script, no network, legible in light and dark and to a reader."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from ftjobs.data.stats import Histogram

_WIDTH, _HEIGHT, _GAP = 640, 120, 2


def histogram(title: str, unit: str, values: Histogram) -> str:
    """A figure: a bar a bin, all equally wide, and the percentiles in its caption.

    `unit` is what is counted along the axis, such as "tokens".  Bins grow with the values, so
    the axis is roughly logarithmic; every bar says its range and count.
    """
    label = (
        f"{title}: {values.minimum:,} to {values.maximum:,} {unit}, half of the "
        f"{sum(values.counts):,} examples have at most {values.p50:,}"
    )
    caption = (
        f"min {values.minimum:,} · p5 {values.p5:,} · median {values.p50:,} · "
        f"p95 {values.p95:,} · max {values.maximum:,} · mean {values.mean:,.1f} · "
        f"total {values.total:,}"
    )
    return "\n".join(
        [
            "<figure>",
            f"<h3>{escape(title)}</h3>",
            f'<svg role="img" aria-label="{escape(label)}" preserveAspectRatio="none" '
            f'viewBox="0 0 {_WIDTH} {_HEIGHT}">',
            *_bars(values, unit),
            "</svg>",
            f'<div class="axis"><span>{values.edges[0]:,}</span>'
            f"<span>{values.edges[-1] - 1:,}</span></div>",
            f"<figcaption>{caption}</figcaption>",
            "</figure>",
        ]
    )


def _bars(values: Histogram, unit: str) -> Iterator[str]:
    step = _WIDTH / len(values.counts)
    tallest = max(values.counts)
    for number, count in enumerate(values.counts):
        least, most = values.edges[number], values.edges[number + 1] - 1
        span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        height = max(1.5, _HEIGHT * count / tallest) if count else 0
        yield (
            f'<rect x="{number * step:.1f}" y="{_HEIGHT - height:.1f}" '
            f'width="{step - _GAP:.1f}" height="{height:.1f}">'
            f"<title>{span} {escape(unit)}: {count:,}</title></rect>"
        )
