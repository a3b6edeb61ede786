"""What the script brings to life: filters, blind voting, and its keys.  Hidden while it is off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ftjobs.reports.comparison._html_rows import View
from ftjobs.reports.page import bdi, safe

__all__ = ["controls", "help_text", "voting"]

OPTIONS = 200
"""Tags that can be chosen."""

_OUTCOMES = {
    "worse": "▼ worse",
    "better": "▲ better",
    "equal": "= equal",
    "ungraded": "– not graded",
}
_KEYS = {
    "j": "next row",
    "k": "row before",
    "/": "search the rows",
    "d": "show or hide what changed",
    "v": "vote blindly",
    "?": "this list",
    "Esc": "back",
}
_BALLOT = {"a": "A is better", "b": "B is better", "t": "Tie", "s": "Skip", "z": "Back"}


def controls(view: View) -> Iterator[str]:
    """Filters and order of the rows."""
    yield '<form class="controls scripted" id="controls" hidden>'
    yield '<label>Search <input type="search" id="search" autocomplete="off"></label>'
    yield from _select("outcome", "Outcome", _OUTCOMES)
    if len(view.sets) > 1:
        sets = {str(n): name or "the verdict’s" for name, n in view.sets.items()}
        yield from _select("set", "Set", sets)
    if view.tags:
        tags = list(view.tags.items())[:OPTIONS]
        yield from _select("tag", "Tag", {str(n): name for name, n in tags})
    order = {"better": "biggest improvements first", "row": "by number"}
    yield from _select("order", "Order", order, first="biggest regressions first")
    yield '<label class="check"><input type="checkbox" id="changed" checked> Show changes</label>'
    yield '<output id="count" aria-live="polite"></output>'
    if view.candidate is not None:
        yield '<button type="button" id="start">Vote blindly</button>'
    yield '<button type="button" id="keys">Keys</button><output id="tally"></output></form>'
    base = bdi(view.comparison.baseline)
    yield (
        f'<p class="note legend">Against {base}: <ins>added</ins> is underlined, '
        "<del>removed</del> is struck through.</p>"
    )


def _select(
    name: str, title: str, options: Mapping[str, str], *, first: str = "all"
) -> Iterator[str]:
    yield f'<label>{title} <select id="{name}"><option value="">{first}</option>'
    for value, words in options.items():
        yield f'<option value="{value}">{safe(words[:60])}</option>'
    yield "</select></label>"


def voting(view: View) -> Iterator[str]:
    """The panel of blind voting: which of two answers is better, without knowing whose they are."""
    if view.candidate is None:
        return
    yield '<section id="vote" class="scripted" aria-labelledby="title-vote" hidden>'
    yield '<h1 id="title-vote" tabindex="-1">Blind vote</h1>'
    yield "<p>Which answer is better? Rows where an answer is missing, or both are the same, are "
    yield "left out. The votes are counted when you stop.</p>"
    yield '<p class="controls"><label>Your name '
    yield '<input id="voter" autocomplete="off" maxlength="200"></label>'
    yield '<label>Arms <select id="arm">'
    for arm in view.arms[1:]:
        mark = " selected" if arm == view.candidate else ""
        pair = f"{safe(arm)} and {safe(view.comparison.baseline)}"
        yield f'<option value="{safe(arm)}"{mark}>{pair}</option>'
    yield "</select></label></p>"
    yield '<p class="ballot">'
    for key, words in _BALLOT.items():
        yield f'<button type="button" data-vote="{key}">{words}<kbd>{key}</kbd></button>'
    yield "</p>"
    yield '<p id="turn" role="status"></p>'
    yield '<p><button type="button" id="export">Download votes</button>'
    yield '<button type="button" id="stop">Stop voting</button>'
    yield '<button type="button" id="forget">Start over</button></p></section>'


def help_text() -> Iterator[str]:
    """The keys, in a dialog."""
    yield '<dialog id="help" aria-labelledby="title-help"><h2 id="title-help">Keys</h2>'
    yield from _keys(_KEYS.items())
    yield "<h3>While voting</h3>"
    yield from _keys(_BALLOT.items())
    yield '<p><label class="check"><input type="checkbox" id="single" checked> '
    yield "Single keys do something</label></p>"
    yield '<form method="dialog"><button>Close</button></form></dialog>'


def _keys(keys: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield '<dl class="keys">'
    yield from (f"<div><dt><kbd>{key}</kbd></dt><dd>{does}</dd></div>" for key, does in keys)
    yield "</dl>"
