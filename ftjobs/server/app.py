"""What is served, put together: routes, answers to errors, and what runs beside the requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from ftjobs.errors import FtjobsError
from ftjobs.server import description, health
from ftjobs.server.desk import Desk
from ftjobs.server.metrics import METHODS
from ftjobs.server.pages import add_pages, is_page, page_refused
from ftjobs.server.refusals import Refusal, error_body, logged, misunderstood, refuse
from ftjobs.server.upkeep import upkeep
from ftjobs.server.webhooks.telling import telling
from ftjobs.server.wire import chat, completions, files, jobs, models, refused, uploads
from ftjobs.server.workers import watched_over

THREADS = 32
"""For requests that are no chats: these have threads of their own."""


class WireError(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """An error, as the wire has it."""

    error: WireError


_ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorAnswer},
                                            "5XX": {"model": ErrorAnswer}}  # fmt: skip
_KEY = HTTPBearer(auto_error=False, description="ftj-…; needed as soon as the server has keys.")


def create_app(desk: Desk) -> FastAPI:
    """The rooms of one server, as an ASGI application.  `guard.door` stands before it."""
    app = FastAPI(
        title="ftjobs serve",
        summary="The OpenAI fine-tuning API on your own machine.",
        version=version("ftjobs"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.desk = desk
    app.state.probe = health.Probe(lambda: next(iter(desk.backend.jobs()), None))
    for noun in (files, uploads, jobs, models, chat, completions, refused):
        app.include_router(
            noun.router, prefix="/v1", dependencies=[Depends(_KEY)], responses=_ERRORS
        )
    for router in (health.router, description.router):
        app.include_router(router)
    add_pages(app)
    app.add_exception_handler(FtjobsError, _refused)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _broken)
    return app


def refusal(request: Request, error: FtjobsError) -> Response:
    """The answer to a request that met an error: to a person a page, to a client the wire's."""
    error = logged(error, request.state.request_id)
    return page_refused(request, error) if is_page(request) else refuse(error)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What runs beside the requests."""
    desk: Desk = app.state.desk
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    with (
        upkeep(desk.rooms),
        telling(desk.backend, desk.database, desk.rooms.owners),
        watched_over(desk.backend),
    ):
        yield


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, FtjobsError)  # noqa: S101 - it was registered for these
    return refusal(request, error)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(_methods(request))}
    if is_page(request):
        answer = refusal(request, Refusal(error.status_code, str(error.detail)))
        answer.headers.update(headers)
        return answer
    return error_body(error.status_code, str(error.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Every method of a path: a route that refuses one knows only its own."""
    routes = request.app.routes
    scopes = {method: {**request.scope, "method": method} for method in sorted(METHODS)}
    return [
        method
        for method, scope in scopes.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return refusal(request, misunderstood(error.errors(), error.body))


async def _broken(request: Request, _error: Exception) -> Response:
    """What nobody foresaw; the door logs where it was."""
    message = f"the server failed; its log says where: {request.state.request_id}"
    return refusal(request, Refusal(500, message))
