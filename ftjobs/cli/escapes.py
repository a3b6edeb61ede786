"""Untrusted text that arrives in pieces, cleaned as if it had come whole."""

from __future__ import annotations

import re

from ftjobs.reports.cells import clean

__all__ = ["Stream"]

_OPEN = re.compile(
    r"(?P<string>\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?P<escape>\x1b?)\Z"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*\Z"
    r"|\x1b[ -/]*\Z"
    r"|\r\Z"
)
"""The start of what `clean` takes out, at the end of a text that may go on."""

LONGEST = 4096  # characters of a sequence that are waited for; no terminal knows one as long


class Stream:
    """Cleans pieces; what they give, joined, is `clean` of the whole.

    A piece that ends within an escape sequence holds its start back until the rest is there, so
    that neither half shows.  Of a sequence of more than `LONGEST` characters, the rest does.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be shown now that `piece` came too."""
        text = self._held + piece
        found = _OPEN.search(text, _last_end(text))
        if found is None or (found.end() - found.start() > LONGEST and found["string"] is None):
            self._held = ""
            return clean(text)
        # What a string (a title, say) holds is never shown: its start and end are enough.
        is_string = found["string"] is not None
        self._held = found["string"] + found["escape"] if is_string else found[0]
        return clean(text[: found.start()])

    def end(self) -> str:
        """What was held back and turned out to be no sequence."""
        held, self._held = self._held, ""
        return clean(held)


def _last_end(text: str) -> int:
    """Before which no sequence goes on to the end: a search from 0 takes quadratic time."""
    ends = (text.rfind("\x07") + 1, text.rfind("\x9c") + 1, text.rfind("\x1b", 0, -1))
    return max(ends)
