"""After a lost answer to a request that makes a file: look in the file list, then send again.

The wire keeps no hash of a file and gives no state of an upload, so the list is all there is to
ask, for as long as it may lag behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ftjobs.backends.nouns import Raw
from ftjobs.backends.retry import TRANSIENT, RetryPolicy
from ftjobs.backends.wire.body import read_file
from ftjobs.backends.wire.session import Session
from ftjobs.errors import InvalidRequestError, NotFoundError
from ftjobs.schema import File

__all__ = ["Wanted", "find", "listed", "patient", "unlost"]

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two looks


@dataclass(frozen=True)
class Wanted:
    """What a file in the list is known by; `is_it` decides among those of its name and size."""

    name: str
    size: int
    purpose: str
    is_it: Callable[[File], bool]


def find(wire: Session, wanted: Wanted, lag: float) -> File | None:
    """The file once it appears in the list; None if it does not within `lag` seconds."""
    retry = wire.retry
    end, pause = retry.now() + lag, FIRST_PAUSE
    while True:
        is_last = retry.now() >= end
        if found := next(listed(wire, wanted), None):
            return found
        if is_last:
            return None
        retry.sleep(max(0.0, min(pause, end - retry.now())))
        pause = min(2 * pause, LONGEST_PAUSE)


def listed(wire: Session, wanted: Wanted) -> Iterator[File]:
    """The files in the list as it is now."""
    for page in wire.pages(wire.api.files.list, purpose=wanted.purpose):
        for raw in page:
            found = read_file(raw, wire.name)
            is_alike = (found.filename, found.bytes) == (wanted.name, wanted.size)
            if is_alike and wanted.is_it(found):
                yield found


def unlost(
    retry: RetryPolicy,
    post: Callable[[], Raw],
    look: Callable[[], File | None],
    *,
    unsure: bool = False,
) -> File | Raw:
    """What `post` answers, or what `look` finds after an answer was lost; by the policy.

    `unsure` says that an earlier answer may have been lost already.
    """

    def attempt() -> File | Raw:
        nonlocal unsure
        if unsure and (found := look()):
            return found
        try:
            return post()
        except TRANSIENT as error:
            unsure = unsure or error.acted is not False
            raise
        except (InvalidRequestError, NotFoundError):  # done already, by the lost request?
            if unsure and (found := look()):
                return found
            raise

    return retry.call(attempt, on=TRANSIENT)


def patient(retry: RetryPolicy, size: int) -> RetryPolicy:
    """The policy, with the time that a transfer of so many bytes may take."""
    from ftjobs.backends.transport import SLOWEST

    return replace(retry, total=retry.total + size / SLOWEST)
