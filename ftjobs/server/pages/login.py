"""Signing in with an API key, where there are keys, and out again."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from ftjobs.server.desk import Desk
from ftjobs.server.pages.room import OursOnly, show
from ftjobs.server.sessions import COOKIE, KEPT

router = APIRouter()

LONGEST = 2000
"""Characters of a place to come back to."""

Place = Annotated[str, Query(alias="next", max_length=LONGEST)]


def login_page(place: str) -> str:
    """Where to sign in, and come back to a place from."""
    return f"/login?next={quote(place, safe='')}" if len(place) <= LONGEST else "/login"


def local(place: str) -> str:
    """A path of this server; "/" for whatever else somebody wrote there.

    Browsers take `//` for the beginning of a host, a backslash for a slash, and drop line ends.
    """
    is_path = place.startswith("/") and place[1:2] not in ("/", "\\") and place.isprintable()
    return place if is_path else "/"


@router.get("/login")
def ask(request: Request, place: Place = "/") -> Response:
    """The form for a key."""
    return show(request, "login.html", place=local(place), wrong=False)


@router.post("/login", dependencies=[OursOnly])
def sign_in(
    request: Request,
    key: Annotated[str, Form(max_length=500)] = "",
    place: Annotated[str, Form(alias="next", max_length=LONGEST)] = "/",
) -> Response:
    """Begin a session, and go to where it was asked for."""
    desk: Desk = request.app.state.desk
    caller = desk.keys.find(key.strip())
    if caller is None:
        return show(request, "login.html", 401, place=local(place), wrong=True)
    answer = RedirectResponse(local(place), 303)
    answer.set_cookie(
        COOKIE, desk.sessions.begin(caller.key_id), max_age=KEPT, httponly=True, samesite="strict",
        secure=_is_secret(request),
    )  # fmt: skip
    return answer


@router.post("/logout", dependencies=[OursOnly])
def sign_out(request: Request) -> Response:
    """End the session."""
    desk: Desk = request.app.state.desk
    desk.sessions.end(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _is_secret(request: Request) -> bool:
    """Whether nobody on the way can read it; a proxy may have ended TLS, but a browser knows."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")
