"""A project's uploads in parts."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ftjobs.errors import InvalidRequestError, NotFoundError, StoreError
from ftjobs.server.projects.files import Files, too_large
from ftjobs.server.refusals import Refusal
from ftjobs.server.spool import disk
from ftjobs.server.uploads import Upload

__all__ = ["LIFE", "Uploads"]

BLOCK = 1 << 20
LIFE = 3600
"""Seconds for which an upload waits for its parts, as on the wire."""
SPARE = 2
"""A pending upload keeps at most so many times its bytes: parts may be sent again."""


class Uploads(Files):
    """Files that come in parts."""

    def begin_upload(
        self, *, size: int, name: str, purpose: str, expires_after: int | None = None
    ) -> Upload:
        """A new upload of so many bytes.  Refusal 413 if they are too many."""
        if size > self.options.max_upload_bytes:
            raise too_large(self.options.max_upload_bytes)
        now = int(time.time())
        upload = Upload(
            id=f"upload_{secrets.token_hex(12)}",
            project=self.project,
            bytes=size,
            filename=name,
            purpose=purpose,
            created_at=now,
            expires_at=now + LIFE,
            expires_after=expires_after,
            status="pending",
        )
        with self.rooms.quota.held(self.project) as held:
            held.grow(size)
            self.rooms.uploads.add(upload)
        return upload

    def add_part(self, upload_id: str, path: Path) -> str:
        """Keep a part; its id.

        Raises:
            NotFoundError: no such upload.
            InvalidRequestError: it has ended, or has more bytes than it was to have.
        """
        size, part_id = path.stat().st_size, f"part_{secrets.token_hex(12)}"
        with self._held(upload_id) as upload:
            _require_pending(upload)
            sizes = self.rooms.uploads.parts(upload_id).values()
            if not 0 < size <= upload.bytes or sum(sizes) + size > SPARE * upload.bytes:
                raise InvalidRequestError(
                    f"the parts of this upload have more than {upload.bytes:,} bytes"
                    if size
                    else "a part has at least one byte",
                    param="data",
                )
            self.rooms.spool.keep(path, part_id)
            try:
                self.rooms.uploads.add_part(upload_id, part_id, size)
            except StoreError:
                with suppress(OSError):  # removed at the next start
                    self.rooms.spool.part(part_id).unlink()
                raise
        return part_id

    def complete_upload(
        self, upload_id: str, part_ids: Sequence[str], md5: str | None = None
    ) -> Upload:
        """Make a file of the parts, in this order.  Done again, it gives the same file.

        Raises:
            NotFoundError: no such upload.
            InvalidRequestError: it has ended, or the parts are not what was announced.
        """
        with self._held(upload_id) as upload:
            if upload.status == "completed" and upload.part_ids == tuple(part_ids):
                return upload
            _require_pending(upload)
            self._check_parts(upload, part_ids)
            with self.rooms.spool.file() as whole:
                digest = self._join(part_ids, whole)
                if md5 is not None and md5.lower() != digest:
                    raise InvalidRequestError("the parts do not have this md5", param="md5")
                file = self._owner(upload).upload(
                    whole,
                    name=upload.filename,
                    purpose=upload.purpose,
                    expires_after=upload.expires_after,
                    counted=True,
                )
            self._end(upload, "completed", file.model_dump(mode="json"), part_ids)
        return self._find(upload_id)

    def cancel_upload(self, upload_id: str) -> Upload:
        """Drop an upload and its parts; one that was cancelled is returned as it is.

        Raises:
            NotFoundError: no such upload.
            InvalidRequestError: it has ended otherwise.
        """
        with self._held(upload_id) as upload:
            if upload.status != "cancelled":
                _require_pending(upload)
                self._end(upload, "cancelled")
        return self._find(upload_id)

    def expire_upload(self, upload_id: str) -> None:
        """Drop the parts of an upload whose time is over."""
        with self._held(upload_id) as upload:
            if upload.status == "expired":
                self._end(upload, "expired")

    def _owner(self, upload: Upload) -> Files:
        """The project that an upload is of, also where somebody completes it who sees all."""
        return Files(self.rooms, replace(self.caller, project=upload.project))

    @contextmanager
    def _held(self, upload_id: str) -> Iterator[Upload]:
        """An upload that nobody else changes."""
        with self.rooms.locks.held(("upload", upload_id)):
            yield self._find(upload_id)

    def _find(self, upload_id: str) -> Upload:
        upload = self.rooms.uploads.find(upload_id)
        if upload is None or (upload.project != self.project and not self.caller.sees_all):
            raise NotFoundError(f"No such Upload object: {upload_id[:200]}", param="upload_id")
        return upload

    def _check_parts(self, upload: Upload, part_ids: Sequence[str]) -> None:
        sizes = self.rooms.uploads.parts(upload.id)
        for part_id in part_ids:
            if part_id not in sizes:
                message = f"No such part of this upload: {part_id[:200]}"
                raise InvalidRequestError(message, param="part_ids")
        if len(set(part_ids)) < len(part_ids):
            raise InvalidRequestError("a part is named twice", param="part_ids")
        size = sum(sizes[part_id] for part_id in part_ids)
        if size != upload.bytes:
            raise InvalidRequestError(
                f"the parts have {size:,} bytes, and the upload was to have {upload.bytes:,}",
                param="part_ids",
            )

    def _join(self, part_ids: Sequence[str], target: Path) -> str:
        """Write the parts one after another; their md5."""
        digest = hashlib.md5(usedforsecurity=False)
        with disk(), target.open("wb") as whole:
            for part_id in part_ids:
                with self.rooms.spool.part(part_id).open("rb") as part:
                    while block := part.read(BLOCK):
                        digest.update(block)
                        whole.write(block)
        return digest.hexdigest()

    def _end(
        self,
        upload: Upload,
        status: str,
        file: dict[str, object] | None = None,
        part_ids: Sequence[str] = (),
    ) -> None:
        for part_id in self.rooms.uploads.end(upload.id, status, file=file, part_ids=part_ids):
            with suppress(OSError):  # removed at the next start
                self.rooms.spool.part(part_id).unlink()


def _require_pending(upload: Upload) -> None:
    if upload.status != "pending":
        raise Refusal(
            400, f"the upload {upload.id} is {upload.status}", code=f"upload_{upload.status}"
        )
