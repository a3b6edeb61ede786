"""Text without its escapes, and the way back to where everything stood."""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import cached_property, lru_cache
from itertools import accumulate, chain

_ESCAPE = re.compile(r'\\\\*+(?:u[0-9a-fA-F]{4}|[nrtbf"/])?')  # fast: begins with a character
_ESCAPE_OR_IMAGE = re.compile(_ESCAPE.pattern + r"|;base64,(?:[A-Za-z0-9+/=]++|\\++/)++")
_SHORT = 16  # longer escapes are runs of backslashes, and images
_NARROW = dict(zip("０１２３４５６７８９＠＋（）－‐‑‒–—―−", "0123456789@+()--------", strict=True))
_WIDE = re.compile(f"[{''.join(_NARROW)}]")


class Plain:
    """Text as its reader sees it, however often it was escaped: `text`, and its `original`.

    JSON inside a JSON string is escaped twice, so a run of backslashes counts as one.  An escape
    becomes one character, and so does an image in base64, of which nothing is read; full-width
    digits and what stands between them become ASCII.
    """

    def __init__(self, text: str) -> None:
        pattern = _ESCAPE_OR_IMAGE if ";base64," in text else _ESCAPE
        self._kept = pattern.split(text)
        self._replaced = pattern.findall(text)
        characters = [
            _meaning(one) if len(one) < _SHORT else _long_meaning(one) for one in self._replaced
        ]
        pairs = zip(self._kept, [*characters, ""], strict=True)
        self.text = "".join(chain.from_iterable(pairs))
        if not self.text.isascii():
            self.text = _WIDE.sub(lambda wide: _NARROW[wide[0]], self.text)

    def original(self, at: int) -> int:
        """The offset in the original of an offset in `text`."""
        return at + self._moved[bisect_left(self._ends, at + 1)]

    @cached_property
    def _ends(self) -> list[int]:
        """Where in `text` that ends which replaces something."""
        return list(accumulate(len(part) + 1 for part in self._kept[:-1]))

    @cached_property
    def _moved(self) -> list[int]:
        """How many characters more the original has up to each of them."""
        return list(accumulate((len(part) - 1 for part in self._replaced), initial=0))


@lru_cache(maxsize=1024)
def _meaning(escape: str) -> str:
    return _long_meaning(escape)


def _long_meaning(escape: str) -> str:
    """The one character for an escape or for an image."""
    code = escape.lstrip("\\")
    if code == escape:
        return "\n"
    if len(code) == 5:
        return chr(int(code[1:], 16))
    return {"": "\\", '"': '"', "/": "/", "t": "\t"}.get(code, "\n")
