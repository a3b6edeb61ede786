"""What all requests of one server share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from ftjobs.backends.base import Backend
from ftjobs.server.caller import THIS_MACHINE, Caller, Scope
from ftjobs.server.database import Database
from ftjobs.server.keys import Keys
from ftjobs.server.options import Options
from ftjobs.server.project import Project, Rooms
from ftjobs.server.refusals import Refusal
from ftjobs.server.sessions import Sessions
from ftjobs.server.turns import Turns

__all__ = ["Administers", "Desk", "Reads", "Trains"]


class Desk:
    """The backend, the options, and the rooms of `server.db`."""

    def __init__(self, backend: Backend, options: Options, database: Database) -> None:
        self.backend, self.options, self.database = backend, options, database
        self.rooms = Rooms(backend, options, database)
        self.metrics = self.rooms.metrics
        self.keys, self.sessions = Keys(database), Sessions(database)
        self.turns = Turns(options.chats, options.chats_waiting)

    def caller(self, authorization: str, session: str = "") -> Caller:
        """Who sends a request with this header, or else with this cookie.

        Refusal 401 for nobody that is known.
        """
        if not self.keys.any():
            return THIS_MACHINE
        scheme, _, key = authorization.partition(" ")
        found = self.keys.find(key.strip()) if scheme.lower() == "bearer" else None
        if found is None and session and not authorization:
            found = self.caller_of_cookie(session)
        if found is None:
            if authorization:
                message = "this API key is not known here, or was revoked"
                raise Refusal(401, message, code="invalid_api_key")
            message = "this server wants an API key: Authorization: Bearer ftj-…"
            raise Refusal(401, message, code="missing_api_key")
        return found

    def caller_of_cookie(self, session: str) -> Caller | None:
        """Whose session it is; None if nobody's.  Without any key, nobody needs one."""
        return self.sessions.find(session) if self.keys.any() else THIS_MACHINE

    def project(self, caller: Caller) -> Project:
        """The backend as this caller sees it."""
        return Project(self.rooms, caller)


def _project(scope: Scope) -> object:
    def find(request: Request) -> Project:
        caller: Caller = request.state.caller  # put there by the guard at the door
        if not caller.may(scope):
            message = f"this API key may not do this: it has the scope {caller.scope}, not {scope}"
            raise Refusal(403, message, code="insufficient_scope")
        desk: Desk = request.app.state.desk
        return desk.project(caller)

    return Depends(find)


Reads = Annotated[Project, _project("read")]
Trains = Annotated[Project, _project("train")]
Administers = Annotated[Project, _project("admin")]
