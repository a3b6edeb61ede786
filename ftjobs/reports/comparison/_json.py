"""A comparison as JSON: one document that can be read again, or one object a line."""

from __future__ import annotations

import json as standard
from collections.abc import Iterator, Mapping
from typing import Any

from ftjobs.evals.result import Comparison
from ftjobs.reports.words import as_json

__all__ = ["json", "objects"]


def json(comparison: Comparison, *, indent: int | None = 2) -> str:
    """The document itself; `Comparison.model_validate_json` reads it.

    Half a surrogate pair, which no file in UTF-8 can hold, becomes "?".  `indent` is in spaces;
    None keeps it on one line.
    """
    text = as_json(comparison, indent=indent)
    if "\\ud" in text:  # as_json escapes everything where it found such a half
        plain = standard.dumps(standard.loads(text), ensure_ascii=False, indent=indent)
        text = plain.encode(errors="replace").decode()
    return text + "\n"


def objects(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """What goes into JSON Lines: `comparison.row` for each row, and at last the `comparison`.

    The last one has all but the rows: their number is `rows`, and `means` are the mean scores on
    the prompts of the verdict, by grader and arm.
    """
    for row in comparison.rows:
        yield {"object": "comparison.row", **dict(row)}
    rest = {name: value for name, value in comparison if name != "rows"}
    yield {**rest, "rows": len(comparison.rows), "means": _means(comparison)}


def _means(comparison: Comparison) -> Mapping[str, Mapping[str, float]]:
    means: dict[str, dict[str, float]] = {}
    for contrast in comparison.contrasts:
        if not contrast.set and contrast.means is not None:
            of = means.setdefault(contrast.grader, {})
            of.setdefault(contrast.baseline, contrast.means[0].value)
            of[contrast.arm] = contrast.means[1].value
    return means
