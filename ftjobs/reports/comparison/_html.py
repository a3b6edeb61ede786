"""A comparison as one self-contained page: no network, light and dark, any width, and paper.

The verdict comes first, then what it rests on, then the rows, the biggest regressions first.  All
of it reads with script off; the script filters, sorts, and hides the arms for blind votes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison import _html_panels as panels
from ftjobs.reports.comparison import _html_setup as setup
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._changes import Change, changes, chosen
from ftjobs.reports.comparison._forest import forest
from ftjobs.reports.comparison._html_controls import controls, help_text, voting
from ftjobs.reports.comparison._html_labels import labels
from ftjobs.reports.comparison._html_rows import View, card
from ftjobs.reports.comparison._json import json
from ftjobs.reports.page import bdi, document, inert
from ftjobs.reports.words import many, when

__all__ = ["html"]

ROWS = 500
"""Rows that a page shows."""

ROW_BYTES = 6_000_000
"""Bytes of HTML after which no further row is added: a browser has to stay quick."""

JSON_BYTES = 12_000_000
"""Bytes of the embedded JSON; a larger comparison is embedded without its rows."""

_WORDS = {"pass": "✓ Pass", "fail": "✗ Fail", "inconclusive": "? Inconclusive"}


def html(comparison: Comparison) -> str:
    """The page.  Everything from outside is escaped, and nothing is loaded or sent.

    A page stays below 20 MB: it shows at most `ROWS` rows and `ROW_BYTES` bytes of them, the
    biggest regressions always, and says what it leaves out.
    """
    found, data = changes(comparison), json(comparison, indent=None)
    whole = len(inert(data).encode()) <= JSON_BYTES
    if not whole:
        data = json(comparison.model_copy(update={"rows": ()}), indent=None)
    return document(
        _title(comparison),
        _body(comparison, found, whole=whole),
        style=_file("_html.css"),
        script=_file("_html.js"),
        data={"comparison": data},
    )


@cache
def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _title(comparison: Comparison) -> str:
    names = " and ".join(arm.name for arm in comparison.arms[1:3]) or "no other arm"
    more = " and others" if len(comparison.arms) > 3 else ""
    word = comparison.verdict.word if comparison.verdict is not None else "no verdict"
    return f"{names}{more} against {comparison.baseline}: {word}"


def _body(comparison: Comparison, found: Sequence[Change], *, whole: bool) -> Iterator[str]:
    view = View(comparison)
    cards = _cards(found, view)
    parts = list(_parts(view, found, cards, whole=whole))
    yield f'<header data-comparison="{view.id}">'
    yield from _verdict(comparison)
    yield '<nav aria-label="Parts of this page"><ul>'
    yield from (f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in parts)
    yield "</ul></nav></header><main>"
    yield from voting(view)
    for name, title, lines in parts:
        yield f'<section id="{name}" aria-labelledby="title-{name}">'
        yield f'<h2 id="title-{name}">{title}</h2>'
        yield from lines
        yield "</section>"
    yield "</main>"
    yield from help_text()


def _verdict(comparison: Comparison) -> Iterator[str]:
    verdict = comparison.verdict
    if verdict is None:
        yield '<h1><span class="word none">– No verdict</span></h1>'
        if words.ungraded(comparison):
            yield '<p class="sentence">No row could be graded for both arms.</p>'
    else:
        yield f'<h1><span class="word {verdict.word}">{_WORDS[verdict.word]}</span></h1>'
        yield f'<p class="sentence">{bdi(verdict.sentence)}</p>'
    parts = [when(comparison.created), many(len(comparison.rows), "row")]
    if comparison.warnings:
        count = many(len(comparison.warnings), "warning")
        parts.append(f'<a class="warning" href="#warnings">⚠ {count}</a>')
    yield f'<p class="faint">{" · ".join(parts)}</p>'


def _parts(
    view: View, found: Sequence[Change], cards: Mapping[int, str], *, whole: bool
) -> Iterator[tuple[str, str, Iterator[str]]]:
    """(id, title, lines) of every section there is something to say in."""
    comparison = view.comparison
    if comparison.contrasts:
        yield "differences", "Differences", _differences(comparison)
    yield "gate", "Gate", panels.gate(comparison)
    yield "regressions", "Biggest regressions", panels.regressions(comparison, found, cards)
    yield "rows", "Rows", _rows(found, cards, view)
    if comparison.biases:
        yield "bias", "Bias", panels.biases(comparison.biases, comparison.confidence)
    if comparison.labels:
        yield "labels", "Labels", (line for report in comparison.labels for line in labels(report))
    yield "configuration", "Configuration", _configuration(comparison, view)
    if comparison.warnings:
        yield "warnings", "Warnings", panels.warnings(comparison)
    yield "data", "Data", _data(whole=whole)


def _differences(comparison: Comparison) -> Iterator[str]:
    yield from forest(comparison)
    yield from panels.contrasts(comparison)


def _cards(found: Sequence[Change], view: View) -> dict[int, str]:
    """The rows that there is room for, by their numbers."""
    cards: dict[int, str] = {}
    size = 0
    for change in chosen(found, ROWS):
        text = "\n".join(card(change, view))
        size += len(text.encode())
        if size > ROW_BYTES and cards:
            break
        cards[change.row.number] = text
    return cards


def _rows(found: Sequence[Change], cards: Mapping[int, str], view: View) -> Iterator[str]:
    if (more := len(found) - len(cards)) > 0:
        yield (
            f'<p class="note">{len(cards):,} of {len(found):,} rows are shown: the biggest '
            f"regressions and improvements, and others from the whole file. {more:,} are not.</p>"
        )
    yield from controls(view)
    yield '<div id="cards">'
    yield from (cards[change.row.number] for change in found if change.row.number in cards)
    yield "</div>"


def _configuration(comparison: Comparison, view: View) -> Iterator[str]:
    yield from setup.run(comparison, view.id)
    yield from setup.arms(comparison)
    yield from setup.graders(comparison)


def _data(*, whole: bool) -> Iterator[str]:
    if whole:
        yield "<p>The whole comparison is embedded in this page as JSON.</p>"
    else:
        yield "<p>The comparison is embedded in this page as JSON, without its rows: they would "
        yield f"take more than {JSON_BYTES // 1_000_000} MB. The JSON report has them.</p>"
    yield '<p class="scripted" hidden>'
    yield '<button type="button" id="download">Download JSON</button></p>'
