"""A file of the service → a file of ours, in constant memory, going on where a fault cut it off."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

from ftjobs.backends.base import Progress
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.errors import InvalidRequestError, ServiceError

if TYPE_CHECKING:
    from httpx2 import Response

__all__ = ["Opener", "range_header", "save"]

BLOCK = 2**20

Opener = Callable[[int], AbstractContextManager["Response"]]
"""Asks for the content from that byte on; the answer's body has not been read."""


def range_header(start: int) -> dict[str, str]:
    """What asks for the bytes from `start` on, as they are (RFC 9110, 14.2)."""
    asked = {"Range": f"bytes={start}-"} if start else {}
    return {"Accept-Encoding": "identity", **asked}


def save(opener: Opener, target: BinaryIO, retry: RetryPolicy, progress: Progress) -> None:
    """Write what `opener` gives to `target`, which already holds all before its position.

    Faults that can pass are waited out for as long as `retry` allows without a new byte.  A
    service that knows no ranges sends everything again.

    Raises:
        BackendError: the service refuses, or gives no new byte; what came stays in `target`.
        OSError: `target` cannot be written.
    """
    best = target.tell()
    while True:
        try:
            return retry.call(lambda: _attempt(opener, target, progress), on=TRANSIENT)
        except TRANSIENT:
            if target.tell() <= best:
                raise
            best = target.tell()


def _attempt(opener: Opener, target: BinaryIO, progress: Progress) -> None:
    try:
        with opener(target.tell()) as answer:
            total = _agree(answer, target)
            for chunk in answer.iter_bytes(BLOCK):
                target.write(chunk)
                progress(target.tell(), total)
    except InvalidRequestError as error:
        if error.status != 416 or target.tell() == 0:
            raise
        _begin_anew(target)
        raise ServiceError(f"{error.message}: the file is shorter than what came before") from None
    if total and target.tell() != total:
        raise ServiceError(f"{target.tell()} of {total} bytes came")


def _agree(answer: Response, target: BinaryIO) -> int:
    """Put `target` where the answer begins; the file's size, 0 where it is not said."""
    encoded = answer.headers.get("content-encoding", "identity") != "identity"
    if answer.status_code != 206:
        _begin_anew(target)
        return 0 if encoded else int(answer.headers.get("content-length", 0))
    part = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("content-range", ""))
    if encoded or part is None or int(part[1]) != target.tell():
        _begin_anew(target)
        raise ServiceError("the service sent another part of the file than it was asked for")
    return 0 if part[2] == "*" else int(part[2])


def _begin_anew(target: BinaryIO) -> None:
    target.seek(0)
    target.truncate()
