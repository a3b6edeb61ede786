"""What is served, put together: routes, answers to errors, and the guards at the door."""

from __future__ import annotations

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from ftjobs.errors import FtjobsError
from ftjobs.server.desk import Desk
from ftjobs.server.refusals import error_body, refuse
from ftjobs.server.webhooks.telling import telling
from ftjobs.server.wire import models

log = logging.getLogger("ftjobs.server")

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that need no key."""


def create_app(desk: Desk) -> FastAPI:
    """The ASGI application of one server."""
    app = FastAPI(
        title="ftjobs serve",
        summary="The OpenAI fine-tuning API on your own machine.",
        version=version("ftjobs"),
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.desk = desk
    for router in (models.router,):
        app.include_router(router, prefix="/v1")
    app.middleware("http")(_identify)
    app.add_exception_handler(FtjobsError, _refused)
    app.add_exception_handler(HTTPException, _not_served)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(Exception, _broken)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """What runs beside the requests."""
    desk: Desk = app.state.desk
    with telling(desk.backend, desk.database, desk.owners):
        yield


async def _identify(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Give every request an id and a caller."""
    request_id = f"req_{secrets.token_hex(16)}"
    request.state.request_id = request_id
    try:
        if request.url.path not in OPEN:
            desk: Desk = request.app.state.desk
            request.state.caller = desk.caller(request.headers.get("authorization", ""))
        response = await go_on(request)
    except FtjobsError as error:
        response = refuse(error)
    response.headers["x-request-id"] = request_id
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FtjobsError)  # noqa: S101 - it was registered for these
    return refuse(error)


async def _not_served(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return error_body(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _not_understood(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return error_body(
        400, f"{place}: {first['msg']}" if place else first["msg"], param=place or None
    )


async def _broken(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "request_id", "")
    log.error("%s failed", request_id, exc_info=error)
    return error_body(500, f"the server failed; its log says how: {request_id}")
