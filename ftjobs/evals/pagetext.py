"""The text of a page of HTML, as far as words go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import unescape

__all__ = ["text_of_page"]

_SILENT = frozenset({"script", "style", "noscript", "template", "svg"})
_INLINE = frozenset(
    {"a", "abbr", "b", "bdi", "bdo", "cite", "code", "em", "font", "i", "kbd", "mark", "q"}
    | {"ruby", "s", "samp", "small", "span", "strong", "sub", "sup", "u", "var", "wbr"}
)
_CLOSE = frozenset({"br", "dd", "dt", "li", "td", "th", "tr"})
_TAG = re.compile(r"/?([a-zA-Z][a-zA-Z0-9-]*)")


def text_of_page(page: str) -> str:
    """The text of a page; elements that break lines become empty lines.

    One pass from each < to the next: `html.parser` takes minutes for a page of broken tags.
    """
    first, *rest = page.split("<")
    return _plain(first) + "".join(map(_text_of_piece, _visible(rest)))


def _visible(pieces: Iterable[str]) -> Iterator[str]:
    """What is in no comment and in no script: pieces that begin behind a <."""
    until = ""  # what ends the comment, or the silent element
    for piece in pieces:
        if piece.startswith("!--") and not until:
            until = "-->"
        if until == "-->":
            _, ends, after = piece.partition("-->")
            if ends:
                until = ""
                yield f">{after}"
        elif not until or piece[: len(until)].lower() == until:
            until = _silence(piece)
            yield "" if until else piece


def _silence(piece: str) -> str:
    """What ends the silent element that a piece opens; "" if it opens none."""
    name = _name(piece)
    is_closed = piece.startswith("/") or piece.partition(">")[0].endswith("/")
    return f"/{name}" if name in _SILENT and not is_closed else ""


def _text_of_piece(piece: str) -> str:
    name = _name(piece)
    if not name and not piece.startswith((">", "!", "?", "/")):
        return _plain(f"<{piece}") if piece else ""
    text = _plain(piece.partition(">")[2])
    if not name or name in _INLINE | _SILENT or (name in _CLOSE and piece.startswith("/")):
        return text
    return f"\n{text}" if name in _CLOSE else f"\n\n{text}"


def _name(piece: str) -> str:
    found = _TAG.match(piece)
    return found[1].lower() if found else ""


def _plain(text: str) -> str:
    """A text as a page shows it: white space is a space."""
    return " ".join(f"<{unescape(text)}>".split())[1:-1]
