"""A training file at the service, once: reused where its bytes are there already.

The wire keeps no hash of a file, so the hash goes into its name; name and size together find it
again, from any machine.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ftjobs.backends.base import Progress, Trainer
from ftjobs.backends.retry import PERMANENT
from ftjobs.disk import blocks_of, stamp_of
from ftjobs.errors import (
    BackendError,
    DeadlineError,
    InvalidRequestError,
    StalePlanError,
)
from ftjobs.jobs.ledger import Ledger
from ftjobs.schema import File

DIGITS = 16  # of the hash that go into the name
LEFT = 86_400  # seconds that a file must still be kept to be reused
UNUSABLE = frozenset({"error", "failed", "deleted", "cancelled", "expired"})
UNREADY = frozenset({"pending", "running", "processing", "notRunning", "importing"})
PATIENCE = 600.0  # seconds for a service to look through a file


def sha256_of(path: Path) -> tuple[str, int]:
    """A file's sha256 in hexadecimal, and its size in bytes.  ConfigError if it cannot be read."""
    digest, size = hashlib.sha256(), 0
    for block in blocks_of(path):
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size


def name_at_service(path: Path, sha256: str) -> str:
    """What a file is called at the service: its own name with the hash of its bytes, in ASCII."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", path.stem).strip("-")[:40] or "data"
    return f"{stem}.{sha256[:DIGITS]}.jsonl"


def find_file(
    backend: Trainer, sha256: str, size: int, *, ledger: Ledger | None = None
) -> File | None:
    """The file at the service that holds these bytes; None if it lists none that can be used."""
    candidates = (*_remembered(backend, sha256, ledger), *_named(backend, sha256))
    return next((file for file in candidates if _usable(file, size)), None)


def ensure_file(
    backend: Trainer,
    path: Path,
    sha256: str,
    size: int,
    *,
    stamp: tuple[int, int],
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None],
    now: Callable[[], float],
) -> File:
    """The file at the service, uploaded if it is not there, once the service can use it.

    `stamp` is from before the file was hashed: what is sent under a hash has to be what has it.

    Raises:
        ConfigError: it cannot be read.
        StalePlanError: it was written to; nothing of it is kept.
        BackendError: the service refused it, or it could not be sent.
    """
    file = find_file(backend, sha256, size, ledger=ledger)
    if file is None:
        file = backend.upload(path, name=name_at_service(path, sha256), progress=progress)
        if stamp_of(path) != stamp:
            if backend.capabilities.delete_files:
                with suppress(BackendError):
                    backend.delete_file(file.id)
            raise StalePlanError(
                f"{path}: the file has changed while it was sent", hint="Plan again."
            )
    if ledger is not None:
        ledger.remember_file(backend.name, sha256, file.id)
    return _ready(backend, file, sleep, now)


def _remembered(backend: Trainer, sha256: str, ledger: Ledger | None) -> Iterator[File]:
    file_id = ledger.file_of(backend.name, sha256) if ledger else None
    if file_id is not None:
        with suppress(*PERMANENT):  # deleted, or another account's
            yield backend.file(file_id)


def _named(backend: Trainer, sha256: str) -> Iterator[File]:
    end = f".{sha256[:DIGITS]}.jsonl"
    for file in backend.files():
        if file.filename.endswith(end) and file.sha256 in (None, sha256):
            yield file


def _usable(file: File, size: int) -> bool:
    is_ours = file.purpose in ("", "fine-tune")  # some services leave it out
    is_whole = file.bytes in (0, size)  # and some the size
    is_kept = file.expires_at is None or file.expires_at > time.time() + LEFT
    return is_ours and is_whole and is_kept and file.status not in UNUSABLE


def _ready(
    backend: Trainer, file: File, sleep: Callable[[float], None], now: Callable[[], float]
) -> File:
    """The file once the service has looked through it; most services need no time for that."""
    end, pause = now() + PATIENCE, 0.5
    while file.status in UNREADY:
        if now() >= end:
            raise DeadlineError(
                f"{backend.name} is still looking through {file.filename}",
                hint=f"Run the same command again later, or delete the file: {_DELETE} {file.id}",
            )
        sleep(pause)
        pause = min(pause * 2, 10.0)
        file = backend.file(file.id)
    if file.status in UNUSABLE:
        raise InvalidRequestError(
            f"{backend.name} cannot use {file.filename}: {file.status_details or file.status}",
            hint=f"Mend the data and run again; {_DELETE} {file.id} clears this file away.",
        )
    return file


_DELETE = "ftjobs files delete"
