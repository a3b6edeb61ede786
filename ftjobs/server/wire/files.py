"""`/v1/files`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from os import SEEK_END
from typing import Annotated, Any, BinaryIO, get_args

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from ftjobs.schema import File
from ftjobs.server.desk import Reads, Trains
from ftjobs.server.refusals import misunderstood
from ftjobs.server.wire.forms import Form, received
from ftjobs.server.wire.nouns import (
    Deleted,
    ExpiresAfter,
    Key,
    Purpose,
    WireFile,
    checked_name,
    lifetime,
    wire_file,
)
from ftjobs.server.wire.paging import After, Order, Page, page

router = APIRouter(tags=["files"])

BLOCK = 1 << 20
_NESTED = re.compile(r"(\w+)\[(\w+)\]")


class FileFields(BaseModel):
    """What a file is sent with."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class FilePage(Page[WireFile]):
    """Some files.  The wire's ids of a page are never null."""

    first_id: str = ""
    last_id: str = ""


async def _form(
    request: Request, project: Trains, idempotency_key: Key = None
) -> AsyncIterator[Form]:
    largest = project.options.max_file_bytes
    # A request that was carried out, and comes again, is to get its answer: it takes no more room.
    known = idempotency_key is not None and await run_sync(project.knows, idempotency_key)
    async with received(request, project, name="file", largest=largest, hold=not known) as form:
        yield form


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(get_args(Purpose))},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": 3600,
                        "maximum": 2_592_000,
                    },
                },
            }
        }
    },
}


@router.post("/files", openapi_extra={"requestBody": _BODY})
def create_file(
    project: Trains, form: Annotated[Form, Depends(_form)], idempotency_key: Key = None
) -> WireFile:
    """Upload a file.  The same bytes under the same name and purpose may be the same file."""
    name, fields = checked_name(form.filename or "", "file"), _fields(form)

    def act() -> dict[str, Any]:
        file = project.upload(
            form.path,
            name=name,
            purpose=fields.purpose,
            expires_after=lifetime(fields.purpose, fields.expires_after),
            counted=form.held,
        )
        return file.model_dump(mode="json")

    asked = {"name": name, "sha256": form.sha256, **fields.model_dump()}
    answer = project.once(idempotency_key, "files.create", asked, act)
    return wire_file(File.model_validate(answer))


@router.get("/files")
def list_files(
    project: Reads,
    purpose: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Order = "desc",
    after: After = None,
) -> FilePage:
    """Files, newest first unless `order` says otherwise."""
    files = [file for file in project.files() if purpose in (None, file.purpose)]
    rows, more = page(reversed(files) if order == "asc" else files, after=after, limit=limit)
    ids = {"first_id": rows[0].id, "last_id": rows[-1].id} if rows else {}
    return FilePage(data=[wire_file(file) for file in rows], has_more=more, **ids)


@router.get("/files/{file_id}")
def retrieve_file(file_id: str, project: Reads) -> WireFile:
    """One file's record."""
    return wire_file(project.file(file_id))


def _opened(file_id: str, project: Reads) -> Iterator[BinaryIO]:
    with project.opened(file_id) as source:
        yield source  # until the answer has been sent


@router.get(
    "/files/{file_id}/content",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def file_content(source: Annotated[BinaryIO, Depends(_opened)]) -> StreamingResponse:
    """A file's bytes, as they were sent."""
    size = source.seek(0, SEEK_END)
    source.seek(0)
    headers = {
        "content-length": str(size),
        "content-disposition": "attachment",  # a browser is not to run what somebody has sent
    }
    blocks = iter(lambda: source.read(BLOCK), b"")
    return StreamingResponse(blocks, headers=headers, media_type="application/octet-stream")


@router.delete("/files/{file_id}")
def delete_file(file_id: str, project: Trains) -> Deleted:
    """Delete a file that no unfinished job needs."""
    project.delete_file(file_id)
    return Deleted(id=file_id)


def _fields(form: Form) -> FileFields:
    """The form's fields; `a[b]` is the field b of a.  Refusal 400 where one cannot be used."""
    given: dict[str, Any] = {}
    for name, text in form.fields.items():
        if match := _NESTED.fullmatch(name):
            inner = given.setdefault(match[1], {})
            if isinstance(inner, dict):
                inner[match[2]] = text
        else:
            given[name] = text
    try:
        return FileFields.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise misunderstood([{**first, "loc": ("body", *first["loc"])}], given) from None
