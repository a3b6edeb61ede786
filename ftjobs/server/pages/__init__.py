"""What people see in a browser: jobs with live curves, files, reports, a playground.

::

    rendering.py   templates → answers, under one content policy
    room.py        what pages share, and how a form is known to be ours
    looks.py       how far jobs are, read once for everybody
    curves.py      loss and accuracy as SVG
    views.py       jobs, files, events in words
    reports.py     check reports and comparisons, shut away
    jobs.py  files.py  playground.py  login.py    routes

Pages are drawn by the server and read without a script.  The script only keeps them up to date,
and asks models in the playground.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from ftjobs.errors import FtjobsError
from ftjobs.server.pages import files, jobs, login, playground
from ftjobs.server.pages.login import login_page
from ftjobs.server.pages.rendering import static
from ftjobs.server.pages.reports import framed_error
from ftjobs.server.pages.room import Room, show
from ftjobs.server.refusals import status_of, told

__all__ = ["add_pages", "is_page", "page_refused"]

_PLACES = ("/jobs", "/files", "/comparisons", "/playground", "/live", "/login", "/logout")

router = APIRouter(include_in_schema=False)
for part in (jobs.router, files.router, playground.router, login.router):
    router.include_router(part)


@router.get("/static/{name}")
def asset(name: str, v: str = "") -> Response:
    """A style sheet, a script or an icon."""
    if (found := static(name, v)) is None:
        raise HTTPException(404, "Not Found")
    return found


def add_pages(app: FastAPI) -> None:
    """Let an application serve the pages."""
    app.state.pages = Room()
    app.include_router(router)


def is_page(request: Request) -> bool:
    """Whether a request is for a page, so that a person reads the answer."""
    path = request.url.path
    return path == "/" or any(path == each or path.startswith(f"{each}/") for each in _PLACES)


def page_refused(request: Request, error: FtjobsError) -> Response:
    """An error as a page; for somebody unknown, the way to sign in."""
    status, path = status_of(error), request.url.path
    if path.startswith("/files/") and path.endswith(".html"):
        return framed_error(told(error), status)
    if request.method != "GET":  # a form, whose page is there again
        place = quote(path.rpartition("/")[0]) or "/"
        back = login_page(place) if status == 401 else place
    elif status == 401:
        if path.startswith("/live/"):
            return Response(status_code=401)
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(login_page(path + query), 303)
    else:
        back = "/"
    return show(request, "error.html", status, code=status, message=told(error), back=back)
