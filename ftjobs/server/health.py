"""Whether the process lives, whether it can be asked, and its numbers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from ftjobs.errors import FtjobsError
from ftjobs.schema import Job
from ftjobs.server.desk import Administers, Desk

__all__ = ["Probe", "router"]

router = APIRouter(include_in_schema=False)

FRESH = 5.0
"""Seconds for which an answer of the backend counts."""
PATIENCE = 2.0
"""Seconds after which a backend that has not answered is not ready."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.api_route("/healthz", methods=["GET", "HEAD"])
async def health() -> dict[str, str]:
    """The process lives, though all threads for requests may be taken."""
    return {"status": "ok"}


@router.api_route("/readyz", methods=["GET", "HEAD"])
def readiness(request: Request) -> JSONResponse:
    """Database and backend answer; 503 while they do not."""
    desk: Desk = request.app.state.desk
    probe: Probe = request.app.state.probe
    found = {"database": _database(desk), "backend": probe.look()}
    ready = set(found.values()) == {"ok"}
    return JSONResponse({"status": "ok" if ready else "not ready", **found}, 200 if ready else 503)


@router.get("/metrics")
def metrics(project: Administers, request: Request) -> Response:
    """Numbers for Prometheus."""
    desk: Desk = request.app.state.desk
    jobs: list[Job] | None = None
    with suppress(FtjobsError):
        jobs = list(project.backend.jobs())
    text = desk.metrics.text(jobs=jobs, answering=desk.turns.taken, waiting=desk.turns.waiting)
    return Response(text, media_type=CONTENT_TYPE)


def _database(desk: Desk) -> str:
    try:
        desk.database.committed("SELECT 1")
    except FtjobsError:
        return "failed"
    return "ok"


class Probe:
    """Asks a backend whether it answers, at most every `FRESH` seconds, once at a time."""

    def __init__(self, ask: Callable[[], object], *, patience: float = PATIENCE) -> None:
        self._ask, self._patience = ask, patience
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._found, self._at = "loading", -FRESH
        self._answered.set()

    def look(self) -> str:
        """ok, failed, or loading where it has not answered in time."""
        with self._lock:
            if self._answered.is_set() and time.monotonic() - self._at >= FRESH:
                self._answered.clear()
                threading.Thread(target=self._run, daemon=True).start()
        return self._found if self._answered.wait(self._patience) else "loading"

    def _run(self) -> None:
        try:
            self._ask()
            self._found = "ok"
        except Exception:  # noqa: BLE001 - whatever it is, the backend cannot be asked
            self._found = "failed"
        self._at = time.monotonic()
        self._answered.set()
