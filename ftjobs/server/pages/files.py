"""Files: the list, one file, its check report; and comparison reports that were uploaded."""

from __future__ import annotations

from itertools import dropwhile, islice
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from ftjobs.reports.words import size
from ftjobs.schema import File
from ftjobs.server.desk import Reads
from ftjobs.server.pages import views
from ftjobs.server.pages.reports import LARGEST, LONG_WAIT, Kind, framed
from ftjobs.server.pages.room import RoomOf, show

router = APIRouter()

ROWS = 50
"""Files of a page."""

SOUGHT = 500
"""Newest files among which comparisons are looked for."""

COMPARED = frozenset({"evals", "user_data"})
"""Purposes of files that may be comparison reports."""

Word = Annotated[str, Query(max_length=200)]


@router.get("/files")
def list_files(request: Request, project: Reads, after: Word = "") -> Response:
    """Files, newest first."""
    files = project.files()
    if after:
        files = dropwhile(lambda file: file.id != after, files)
        next(files, None)
    found = list(islice(files, ROWS + 1))
    shown = found[:ROWS]
    older = shown[-1].id if len(found) > ROWS else ""
    rows = [views.file_row(file) for file in shown]
    return show(request, "files.html", rows=rows, older=older, after=after)


@router.get("/files/{file_id}")
def show_file(request: Request, project: Reads, file_id: str) -> Response:
    """One file's record, and the reports there are of it."""
    file = project.file(file_id)
    kind = kind_of(file)
    return show(
        request,
        "file.html",
        file=views.file_row(file),
        kind=kind,
        too_large=kind is not None and file.bytes > LARGEST[kind],
        takes_long=file.bytes > LONG_WAIT,
        largest=size(LARGEST[kind]) if kind else "",
    )


@router.get("/comparisons")
def list_comparisons(request: Request, project: Reads) -> Response:
    """Files that may be comparison reports, newest first."""
    newest = islice(project.files(), SOUGHT)
    rows = [views.file_row(file) for file in newest if kind_of(file) == "comparison"]
    return show(request, "comparisons.html", rows=rows)


@router.get("/files/{file_id}/report")
def show_report(request: Request, project: Reads, file_id: str) -> Response:
    """A report within a page of ours."""
    file = project.file(file_id)
    return show(request, "report.html", file=views.file_row(file), kind=kind_of(file))


@router.get("/files/{file_id}/{kind}.html")
def report(
    project: Reads, room: RoomOf, file_id: str, kind: Literal["check", "comparison"]
) -> Response:
    """A report by itself, shut away from the site that it came from."""
    return framed(room.reports.of(project, project.file(file_id), kind))


def kind_of(file: File) -> Kind | None:
    """Which report there can be of a file; None for none."""
    if file.purpose in COMPARED and file.filename.lower().endswith(".json"):
        return "comparison"
    return "check" if file.purpose in ("fine-tune", "") else None
