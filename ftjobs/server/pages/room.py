"""What the pages of one server share, and how a form is known to be ours.

The door has seen to it that no other site's page can write here; that a form carries a token of
this server is the second lock on the same door.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Annotated, Any

from fastapi import Depends, Form, Request, Response

from ftjobs.server.caller import Caller
from ftjobs.server.pages.looks import Looks
from ftjobs.server.pages.rendering import page
from ftjobs.server.pages.reports import Reports
from ftjobs.server.refusals import Refusal
from ftjobs.server.sessions import COOKIE

__all__ = ["OursOnly", "Room", "RoomOf", "show"]


class Room:
    """Looks at jobs, reports of files, and the secret of forms."""

    def __init__(self) -> None:
        self.looks, self.reports = Looks(), Reports()
        self._secret = secrets.token_bytes(32)

    def token(self, request: Request) -> str:
        """What a form carries: only a page that this browser was given can hold it."""
        session = request.cookies.get(COOKIE, "")
        return hmac.new(self._secret, session.encode(), hashlib.sha256).hexdigest()

    def check(self, request: Request, token: str) -> None:
        """Refusal 403 unless a form was sent from a page of ours, to this browser."""
        if not hmac.compare_digest(token.encode(), self.token(request).encode()):
            message = "this form is older than the server, or than your sign-in: open it again"
            raise Refusal(403, message, code="stale_form")


def _room(request: Request) -> Room:
    room: Room = request.app.state.pages
    return room


RoomOf = Annotated[Room, Depends(_room)]


def _ours(request: Request, room: RoomOf, token: Annotated[str, Form(max_length=200)] = "") -> None:
    room.check(request, token)


OursOnly = Depends(_ours)
"""For every route that changes something."""


def show(request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """A page, with what all of them say of whoever asks."""
    caller: Caller | None = getattr(request.state, "caller", None)
    return page(
        name,
        status,
        here=request.url.path,
        caller=caller,
        token=_room(request).token(request),
        **values,
    )
