"""Reports of files, made once: the check of a training file, and comparisons that were uploaded.

A report is a document of its own with a content policy of its own.  It shows what models and
people wrote, so it is shut away besides: in its frame it has no origin, and so neither this
server's cookies nor anything of the page around it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from fastapi import Response
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from ftjobs.data import check
from ftjobs.data.stats import Statistics, statistics
from ftjobs.data.tokens import EstimatedCounter
from ftjobs.errors import DatasetError
from ftjobs.evals.result import Comparison
from ftjobs.reports import comparison, dataset
from ftjobs.reports.page import bdi, document
from ftjobs.schema import File
from ftjobs.server.project import Project
from ftjobs.server.refusals import Refusal

__all__ = ["LARGEST", "LONG_WAIT", "Kind", "Reports", "framed", "framed_error"]

Kind = Literal["check", "comparison"]

LARGEST = {"check": 512 * 2**20, "comparison": 24 * 2**20}
"""Bytes of a file beyond which no report is made of it, by kind."""

LONG_WAIT = 16 * 2**20
"""Bytes from which on the page says that a report takes a while."""

KEPT = 64 * 2**20
"""Characters of reports that are kept."""

COUNTED = 64 * 2**20
"""Bytes of a file up to which its tokens are counted too, in this process."""

ISSUES = 10_000
"""Errors, and warnings, that are kept of a file."""

PATIENCE = 60.0
"""Seconds that a report waits for the one before it: they are made one by one."""

PLACES = 4
"""Requests for reports that are not there yet: each has one of the server's threads."""

_SHUT = {
    "content-security-policy": "sandbox allow-scripts allow-downloads; frame-ancestors 'self'",
    "x-frame-options": "SAMEORIGIN",
}


class Reports:
    """Reports as HTML, those that were asked for last.  Files never change, so neither do they."""

    def __init__(self, *, kept: int = KEPT) -> None:
        self._kept = kept
        self._making, self._lock = threading.Lock(), threading.Lock()
        self._places = threading.BoundedSemaphore(PLACES)
        self._pages: OrderedDict[tuple[str, Kind], str] = OrderedDict()

    def of(self, project: Project, file: File, kind: Kind) -> str:
        """The report of a file of this project.

        Raises:
            Refusal: the file is too large, is no comparison, or too many others wait for reports,
                or for too long.
        """
        if (found := self._find(file.id, kind)) is not None:
            return found
        if file.bytes > LARGEST[kind]:
            raise Refusal(413, f"{file.filename} is too large for a report in a page")
        with _taken(self._places), _taken(self._making, PATIENCE):
            html = self._find(file.id, kind) or _MAKERS[kind](project, file)
            self._keep(file.id, kind, html)
        return html

    def _find(self, file_id: str, kind: Kind) -> str | None:
        with self._lock:
            if (found := self._pages.get((file_id, kind))) is not None:
                self._pages.move_to_end((file_id, kind))
            return found

    def _keep(self, file_id: str, kind: Kind, html: str) -> None:
        with self._lock:
            self._pages[file_id, kind] = html
            while sum(map(len, self._pages.values())) > self._kept and len(self._pages) > 1:
                self._pages.popitem(last=False)


@contextmanager
def _taken(
    place: threading.Lock | threading.BoundedSemaphore, seconds: float = 0
) -> Iterator[None]:
    """A place that was waited for.  Refusal 503 if it does not get free in time."""
    if not place.acquire(timeout=seconds):
        raise Refusal(503, "other reports are being made: try again", retry_after=10)
    try:
        yield
    finally:
        place.release()


def _checked(project: Project, file: File) -> str:
    with tempfile.TemporaryDirectory(prefix="ftjobs-") as folder:
        path = Path(folder) / "file"  # never under a name that a client gave
        with project.opened(file.id) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target)
        found = check(path, max_issues=ISSUES, processes=os.cpu_count() or 1)
        numbers = _counted(path) if file.bytes <= COUNTED else None
    named = Path(file.filename or file.id)
    issues = tuple(each.model_copy(update={"path": str(named)}) for each in found.issues)
    shown = found.model_copy(update={"path": named, "issues": issues})
    return dataset.html([shown], statistics={} if numbers is None else {named: numbers})


def _counted(path: Path) -> Statistics | None:
    try:
        return statistics(path, EstimatedCounter())
    except DatasetError:  # it is damaged, which the check says
        return None


def _compared(project: Project, file: File) -> str:
    try:
        found = Comparison.model_validate_json(project.content(file.id))
    except ValidationError:
        message = "this is no comparison: upload what ftjobs compare -o report.json has written"
        raise Refusal(400, message, code="not_a_comparison") from None
    return comparison.html(found)


_MAKERS = {"check": _checked, "comparison": _compared}


def framed(html: str, status: int = 200) -> Response:
    """A report as an answer that may be shown in a frame of ours, and can reach nothing there."""
    return HTMLResponse(html, status, headers=_SHUT)


def framed_error(message: str, status: int) -> Response:
    """Why there is no report, where the report would be: no other page may stand in the frame."""
    return framed(document("No report", [f"<p>{bdi(message)}</p>"], style=""), status)
