"""Uploads in parts: several at once, in constant memory, and gone on with after a crash.

Every finished part is noted on disk with the md5 of what was sent.  A killed process leaves the
note, and the next one sends only what is missing.  Who gives up for good cancels.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Progress
from ftjobs.backends.nouns import Raw, mapping
from ftjobs.backends.retry import TRANSIENT
from ftjobs.backends.wire.body import read_file
from ftjobs.backends.wire.journal import Journal, Noted, Part
from ftjobs.backends.wire.lost import Wanted, find, listed, patient, unlost
from ftjobs.backends.wire.session import Session
from ftjobs.backends.wire.slices import Interrupted, Meter, Slice, md5s
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    FtjobsError,
    InvalidRequestError,
    NotFoundError,
    ServiceError,
)
from ftjobs.schema import File

__all__ = ["PART_SIZE", "Outgoing", "PartsSender"]

PART_SIZE = 64 << 20
"""Bytes: the largest part that the wire takes."""

AT_ONCE = 4  # parts
HOUR = 3600.0  # seconds: what the wire says that an upload lives
LONGEST_LIFE = 86_400  # seconds, whatever a service says
MARGIN = 60.0  # seconds before its end in which an upload is not gone on with
PASSING: tuple[type[BackendError], ...] = (*TRANSIENT, AuthError)
"""After these the parts are kept: a later run, or one with the right key, can go on."""

AGAIN = "Run the same command again: it goes on with the parts that have arrived."


@dataclass(frozen=True)
class Outgoing:
    """A file on its way: what, under which name, and who follows it.

    `size` is in bytes; `changed` is when it was last changed, in ns.
    """

    path: Path
    name: str
    purpose: str
    size: int
    changed: int
    progress: Progress

    def wanted(self, is_it: Callable[[File], bool] = lambda _found: True) -> Wanted:
        """What it is known by in the service's list."""
        return Wanted(self.name, self.size, self.purpose, is_it)


class _GoneError(Exception):
    """The service does not know a noted upload any more."""


@dataclass(frozen=True)
class PartsSender:
    """Sends files in parts; the attributes are those of `Uploader`."""

    wire: Session
    journal: Path | None
    lag: float
    part_size: int
    wall: Callable[[], float]

    def send(self, file: Outgoing) -> File:
        """Send a file, or what is missing of it; see `Uploader.send`."""
        place = (str(file.path.resolve()), str(file.size), str(file.changed))
        base = self.wire.profile.base_url
        journal = Journal(self.journal, base, file.name, file.purpose, *place)
        with journal.held() as waited:
            noted = journal.read()
            if waited and noted and (found := self._sent_by_other(noted)):
                return found
            if noted and self._lives(noted, file):
                with suppress(_GoneError):
                    return self._go_on(_Transfer(self, file, noted, journal), is_new=False)
            noted = self._begin(file)
            journal.write(noted)
            return self._go_on(_Transfer(self, file, noted, journal), is_new=True)

    def _sent_by_other(self, noted: Noted) -> File | None:
        """What the process that was waited for has sent."""
        if noted.file_id is None:
            return None
        with suppress(NotFoundError):
            return read_file(
                self.wire.read(self.wire.api.files.retrieve, noted.file_id), self.wire.name
            )
        return None

    def _lives(self, noted: Noted, file: Outgoing) -> bool:
        """Whether the service may still have a noted upload, and it is cut as this one would be."""
        is_young = 0 <= self.wall() - noted.began < noted.life - MARGIN
        is_alike = noted.part_size == self.part_size
        is_whole = all(0 <= n < noted.count(file.size) for n in noted.parts)
        is_open = noted.file_id is None and (is_young or noted.completing)
        return is_open and is_alike and is_whole

    def _begin(self, file: Outgoing) -> Noted:
        before = tuple(found.id for found in listed(self.wire, file.wanted()))
        began = self.wall()
        record = self.wire.read(
            self.wire.api.uploads.create,
            bytes=file.size,
            filename=file.name,
            purpose=file.purpose,
            mime_type="text/jsonl",
        )
        return Noted(
            upload_id=_id(record, self.wire.name),
            before=before,
            began=began,
            life=_life(record),
            part_size=self.part_size,
        )

    def _go_on(self, transfer: _Transfer, *, is_new: bool) -> File:
        """Send what is missing, and complete.  _GoneError if the service dropped an older one."""
        try:
            return transfer.run()
        except (InvalidRequestError, NotFoundError) as error:
            transfer.cancel()
            if is_new:
                raise
            raise _GoneError from error
        except PASSING as error:
            if self.journal is None:
                transfer.cancel()
            else:
                error.hint = f"{error.hint}  {AGAIN}".strip()
            raise
        except (FtjobsError, KeyboardInterrupt):
            transfer.cancel()
            raise


class _Transfer:
    """One upload, from its note on."""

    def __init__(self, sender: PartsSender, file: Outgoing, noted: Noted, journal: Journal) -> None:
        self._sender, self._wire = sender, sender.wire
        self._file, self._noted, self._journal = file, noted, journal
        self._lock = threading.Lock()
        done = sum(self._span(number)[1] for number in noted.parts)
        self._meter = Meter(file.size, file.progress, done=done)

    def run(self) -> File:
        """Send the parts that are missing, then turn all into a file."""
        self._send_missing()
        found = self._complete()
        self._note(file_id=found.id)
        return found

    def cancel(self) -> None:
        """Let the service drop the parts.  Whatever it answers, there is nothing to go on with."""
        self._stop()
        self._journal.forget()
        with suppress(BackendError):
            self._wire.send(self._wire.api.uploads.cancel, self._noted.upload_id)

    # --- parts --------------------------------------------------------------------------------

    def _send_missing(self) -> None:
        """Several at once; the first failure ends all."""
        todo: queue.SimpleQueue[int] = queue.SimpleQueue()
        missing = [n for n in range(self._count) if n not in self._noted.parts]
        for number in missing:
            todo.put(number)
        results: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for _ in range(min(AT_ONCE, len(missing))):
            # Daemons: at Ctrl-C nobody waits for a request that is under way.
            threading.Thread(target=self._work, args=(todo, results), daemon=True).start()
        try:
            for _ in missing:
                if failure := results.get():
                    raise failure
        finally:
            self._stop()

    def _work(
        self, todo: queue.SimpleQueue[int], results: queue.SimpleQueue[BaseException | None]
    ) -> None:
        while not todo.empty():
            try:
                self._send(todo.get_nowait())
            except (Interrupted, queue.Empty):
                return
            except BaseException as failure:  # noqa: BLE001 - it is raised by `_send_missing`
                results.put(failure)
                return
            results.put(None)

    def _send(self, number: int) -> None:
        start, size = self._span(number)

        def attempt() -> Part:
            with Slice(self._file.path, start, size, number, self._meter) as content:
                data = ("part", content, "application/octet-stream")
                create = self._wire.api.uploads.parts.create
                raw = self._wire.send(create, self._noted.upload_id, data=data)
                return Part(id=_id(raw, self._wire.name), md5=content.md5)

        part = patient(self._wire.retry, size).call(attempt, on=TRANSIENT)
        with self._lock:
            if not self._meter.stopped.is_set():  # else the note may be gone, and must stay so
                self._note(parts={**self._noted.parts, number: part})

    def _stop(self) -> None:
        """From here on no thread writes a note."""
        with self._lock:
            self._meter.stopped.set()

    @property
    def _count(self) -> int:
        return self._noted.count(self._file.size)

    def _span(self, number: int) -> tuple[int, int]:
        """Where a part starts, and its size."""
        start = number * self._noted.part_size
        return start, min(self._noted.part_size, self._file.size - start)

    # --- the end ------------------------------------------------------------------------------

    def _complete(self) -> File:
        """Turn the parts into a file, once it is known that they are the file as it is now."""
        whole, sums = md5s(self._file.path, self._noted.part_size)
        parts = [self._noted.parts[number] for number in range(self._count)]
        if sums != [part.md5 for part in parts]:
            raise ConfigError(f"{self._file.path} changed while it was sent", hint="Send it again.")
        was_asked = self._noted.completing
        self._note(completing=True)

        def post() -> Raw:
            complete, ids = self._wire.api.uploads.complete, [part.id for part in parts]
            return self._wire.send(complete, self._noted.upload_id, part_ids=ids, md5=whole)

        answer = unlost(self._wire.retry, post, self._look, unsure=was_asked)
        return answer if isinstance(answer, File) else self._made(answer)

    def _made(self, answer: Raw) -> File:
        if raw := mapping(answer.get("file")):
            return read_file(raw, self._wire.name)
        if found := self._look():
            return found
        raise ServiceError(f"{self._wire.name} completed an upload without naming its file")

    def _look(self) -> File | None:
        """The file that this upload became: one of its name and size that was not there before."""
        wanted = self._file.wanted(lambda found: found.id not in self._noted.before)
        return find(self._wire, wanted, self._sender.lag)

    def _note(self, **changes: Any) -> None:
        self._noted = self._noted.model_copy(update=changes)
        self._journal.write(self._noted)


def _life(record: Raw) -> float:
    """Seconds for which the service keeps an upload, by its own clock."""
    created, expires = record.get("created_at"), record.get("expires_at")
    if isinstance(created, int) and isinstance(expires, int) and expires > created:
        return float(min(expires - created, LONGEST_LIFE))
    return HOUR


def _id(raw: Raw, name: str) -> str:
    found = raw.get("id")
    if isinstance(found, str) and found:
        return found
    raise ServiceError(f"{name} answered an upload without an id")
