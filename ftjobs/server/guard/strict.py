"""Heads that can be read in one way only."""

from __future__ import annotations

import re
from typing import Any

import h11

__all__ = ["Strict"]

_END = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\n[ \t]")


class Strict(h11.Connection):
    """h11, but for a header that goes on in the next line.

    h11 joins such lines, as it may.  A proxy that does not may see another length of the body, and
    so another request behind it.  (RFC 9112, section 5.2)
    """

    def next_event(self) -> Any:
        """As h11 has it.  RemoteProtocolError for a folded header."""
        if self.their_state is h11.IDLE:
            head = _END.split(self.trailing_data[0], maxsplit=1)[0]
            if _FOLD.search(head):
                raise h11.RemoteProtocolError("a header goes on in the next line")
        return super().next_event()
