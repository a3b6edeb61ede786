"""`/v1/uploads`: files in parts."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from ftjobs.server.desk import Trains
from ftjobs.server.guard.body import PART_BYTES
from ftjobs.server.refusals import Refusal
from ftjobs.server.wire.forms import Form, received
from ftjobs.server.wire.nouns import (
    ExpiresAfter,
    Key,
    Purpose,
    WirePart,
    WireUpload,
    checked_name,
    lifetime,
    wire_upload,
)

router = APIRouter(tags=["uploads"])

MOST_PARTS = 10_000
_Id = Annotated[str, Field(max_length=100)]


class CreateUpload(BaseModel):
    """What an upload is to become."""

    model_config = ConfigDict(extra="forbid")

    filename: str
    purpose: Purpose
    bytes: Annotated[int, Field(ge=1)]
    mime_type: Annotated[str, Field(max_length=255)]
    expires_after: ExpiresAfter | None = None


class CompleteUpload(BaseModel):
    """The parts in their order."""

    model_config = ConfigDict(extra="forbid")

    part_ids: Annotated[list[_Id], Field(min_length=1, max_length=MOST_PARTS)]
    md5: Annotated[str, Field(max_length=32)] | None = None


async def _form(request: Request, project: Trains) -> AsyncIterator[Form]:
    # The upload is a part of the quota as a whole, from its beginning.
    async with received(request, project, name="data", largest=PART_BYTES, hold=False) as form:
        yield form


_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "required": ["data"],
                "properties": {"data": {"type": "string", "format": "binary"}},
            }
        }
    },
}


@router.post("/uploads")
def create_upload(body: CreateUpload, project: Trains, idempotency_key: Key = None) -> WireUpload:
    """Begin an upload; it waits for its parts for an hour."""
    name = checked_name(body.filename, "filename")

    def act() -> dict[str, Any]:
        upload = project.begin_upload(
            size=body.bytes,
            name=name,
            purpose=body.purpose,
            expires_after=lifetime(body.purpose, body.expires_after),
        )
        return wire_upload(upload).model_dump(mode="json")

    asked = body.model_dump(mode="json")
    return WireUpload(**project.once(idempotency_key, "uploads.create", asked, act))


@router.post("/uploads/{upload_id}/parts", openapi_extra={"requestBody": _BODY})
def add_part(
    upload_id: str,
    project: Trains,
    form: Annotated[Form, Depends(_form)],
    idempotency_key: Key = None,
) -> WirePart:
    """Add a part; parts may come in any order, and several at once."""
    for name in form.fields:
        raise Refusal(
            400,
            f"{name[:100]}: no such argument",
            param=name[:100],
            code="unrecognized_request_argument",
        )

    def act() -> dict[str, Any]:
        part_id = project.add_part(upload_id, form.path)
        part = WirePart(id=part_id, created_at=int(time.time()), upload_id=upload_id)
        return part.model_dump(mode="json")

    asked = [upload_id, form.sha256]
    return WirePart(**project.once(idempotency_key, "uploads.parts.create", asked, act))


@router.post("/uploads/{upload_id}/complete")
def complete_upload(
    upload_id: str, body: CompleteUpload, project: Trains, idempotency_key: Key = None
) -> WireUpload:
    """Make a file of the parts.  An upload that is complete already answers with its file."""

    def act() -> dict[str, Any]:
        upload = project.complete_upload(upload_id, body.part_ids, body.md5)
        return wire_upload(upload).model_dump(mode="json")

    asked = [upload_id, body.model_dump(mode="json")]
    return WireUpload(**project.once(idempotency_key, "uploads.complete", asked, act))


@router.post("/uploads/{upload_id}/cancel")
def cancel_upload(upload_id: str, project: Trains, idempotency_key: Key = None) -> WireUpload:
    """Drop an upload and its parts."""

    def act() -> dict[str, Any]:
        return wire_upload(project.cancel_upload(upload_id)).model_dump(mode="json")

    return WireUpload(**project.once(idempotency_key, "uploads.cancel", upload_id, act))
