"""Uploads against a loopback service that loses answers, expires and refuses."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from ftjobs.backends.wire.journal import Journal, Noted
from ftjobs.backends.wire.slices import Interrupted, Meter, Slice, md5s, rising
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    InvalidRequestError,
    ServiceError,
)
from ftjobs.schema import File
from tests.service import KEY, Service, running

PART = 64 * 1024
DATA = random.Random(7).randbytes(PART * 5 + 1000)  # six parts
LAG = 4.0


@dataclass
class World:
    """A service, a large file, and a clock that only waits move."""

    service: Service
    path: Path
    journal: Path
    waits: list[float] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)

    def now(self) -> float:
        return sum(self.waits)

    def backend(self, *, total: float = 60.0, key: str = KEY, notes: bool = True) -> WireBackend:
        lags = ANY_URL.capabilities.model_copy(update={"list_lag": LAG})
        profile = ANY_URL.at(self.service.url).model_copy(
            update={"parts": True, "capabilities": lags}
        )
        retry = RetryPolicy(total=total, sleep=self.waits.append, now=self.now)
        return WireBackend(
            "test",
            profile,
            key,
            retry=retry,
            timeout=10,
            journal=self.journal if notes else None,
            part_size=PART,
        )

    def upload(self, **how: Any) -> File:
        with closing(self.backend(**how)) as backend:
            return backend.upload(self.path, progress=lambda *told: self.told.append(told))

    def check(self, file: File) -> None:
        """The service has the file once, and whole; what was told never went back."""
        assert [each.id for each in self.service.files()] == [file.id]
        assert self.service.backend.content(file.id) == self.path.read_bytes()
        assert (file.filename, file.bytes) == (self.path.name, len(self.path.read_bytes()))
        done = [done for done, _ in self.told]
        assert done == sorted(done)

    def statuses(self) -> list[str]:
        return [upload.record["status"] for upload in self.service.uploads.values()]

    def notes(self) -> list[Noted]:
        return [
            Noted.model_validate_json(path.read_bytes()) for path in self.journal.glob("*.json")
        ]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "train.jsonl"
    path.write_bytes(DATA)
    with running() as service:
        world = World(service, path, tmp_path / "home" / "uploads")
        service.clock = world.now
        yield world


# --- in parts -----------------------------------------------------------------------------------


def test_a_large_file_goes_in_parts(world: World) -> None:
    file = world.upload()
    world.check(file)
    assert world.service.counts["post_parts"] == 6
    assert world.told[-1] == (len(DATA), len(DATA))
    complete = next(r for r in world.service.requests if r.path.endswith("/complete"))
    assert complete.json["md5"] == hashlib.md5(DATA).hexdigest()


def test_parts_go_several_at_once(world: World) -> None:
    world.service.fault("POST", "/parts", delay=0.3, times=6)
    began = time.monotonic()
    world.upload()
    assert time.monotonic() - began < 6 * 0.3


@pytest.mark.parametrize(
    "fault",
    [{"status": 503}, {"lost": "before"}, {"lost": "after"}, {"lost": "during"}, {"cut": 9}],
)
@pytest.mark.parametrize("path", ["/uploads", "/parts", "/complete"])
def test_faults_that_pass_are_outlived(world: World, fault: dict[str, Any], path: str) -> None:
    world.service.fault("POST", path, **fault, times=2)
    world.check(world.upload())


@pytest.mark.parametrize("lag", [0.0, LAG - 1])
def test_a_lost_answer_to_complete_makes_no_second_file(world: World, lag: float) -> None:
    world.service.list_lag = lag
    world.service.fault("POST", "/complete", lost="after")
    world.check(world.upload())
    assert world.service.counts["post_complete"] == 1


@pytest.mark.parametrize("answer", [{"file": None}, {"file": 3}])
def test_an_answer_to_complete_that_names_no_file_is_made_good(
    world: World, answer: dict[str, Any]
) -> None:
    world.service.fault("POST", "/complete", rewrite=lambda body: body | answer)
    world.check(world.upload())


def test_a_completed_upload_does_not_take_an_older_file_for_its_own(world: World) -> None:
    old = world.service.folder / "old"
    old.write_bytes(bytes(len(DATA)))
    world.service.add_file(world.path.name, old, "fine-tune")
    world.service.fault("POST", "/complete", lost="before")
    file = world.upload()
    assert world.service.backend.content(file.id) == DATA


# --- going on -----------------------------------------------------------------------------------


def give_up_early(world: World, **how: Any) -> None:
    """Send some parts, then meet a fault that lasts."""
    sent = itertools.count()
    real = world.service.post_parts

    def post_parts(*args: Any) -> Any:
        if next(sent) >= 3:
            raise BackendError("overloaded", status=503)
        return real(*args)

    world.service.post_parts = post_parts  # type: ignore[assignment, method-assign]
    with pytest.raises(ServiceError) as caught:
        world.upload(total=0, **how)
    assert ("goes on" in caught.value.hint) is how.get("notes", True)
    world.service.post_parts = real  # type: ignore[method-assign]
    world.told.clear()


def test_a_later_run_sends_only_what_is_missing(world: World) -> None:
    give_up_early(world)
    assert world.statuses() == ["pending"]
    (noted,) = world.notes()
    before = world.service.counts["post_parts"]
    world.check(world.upload())
    assert world.service.counts["post_parts"] - before == 6 - len(noted.parts)
    assert world.told[0][0] >= len(noted.parts) * PART - 1
    assert world.statuses() == ["completed"]


def test_without_a_journal_what_cannot_go_on_is_cancelled(world: World) -> None:
    give_up_early(world, notes=False)
    assert world.statuses() == ["cancelled"]
    world.check(world.upload(notes=False))


@pytest.mark.parametrize("after", [0, 2, 5, 6])
def test_a_killed_process_is_gone_on_with(world: World, after: int) -> None:
    """kill -9 after so many parts; six are all, and then `complete` is under way."""
    reached = threading.Event()
    real, sent = world.service.acted, itertools.count(1)

    def acted(request: Any) -> None:
        real(request)
        parts = request.path.endswith("/parts") and next(sent) > after
        if parts or (after == 6 and request.path.endswith("/complete")):
            reached.set()
            world.service.stopping.wait(1.5)  # no answer: the process dies first

    world.service.acted = acted  # type: ignore[method-assign]
    profile = ANY_URL.at(world.service.url).model_copy(update={"parts": True})
    code = (
        "import sys; from pathlib import Path\n"
        "from ftjobs.backends.profiles import Profile\n"
        "from ftjobs.backends.wire import WireBackend\n"
        f"profile = Profile.model_validate_json({profile.model_dump_json()!r})\n"
        f"backend = WireBackend('test', profile, {KEY!r},"
        f" journal=Path({str(world.journal)!r}), part_size={PART})\n"
        f"backend.upload(Path({str(world.path)!r}))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        assert reached.wait(20)
        time.sleep(0.1)  # for the notes of the parts before
    finally:
        process.kill()
        process.wait()
    (noted,) = world.notes()
    world.service.acted = real  # type: ignore[method-assign]
    before = world.service.counts["post_parts"]
    world.check(world.upload())
    assert len(noted.parts) >= min(after, 6) - 3  # what was under way beside
    assert world.service.counts["post_parts"] - before == 6 - len(noted.parts)
    assert len(world.service.uploads) == 1
    assert world.service.counts["post_complete"] == 1


def test_an_expired_upload_is_begun_anew(world: World) -> None:
    world.service.upload_life = 30.0  # less than the margin
    give_up_early(world)
    world.service.upload_life = 3600.0
    world.check(world.upload())
    assert world.statuses() == ["pending", "completed"]


def test_an_upload_that_the_service_has_dropped_is_begun_anew(world: World) -> None:
    give_up_early(world)
    (upload,) = world.service.uploads.values()
    upload.record["status"] = "expired"
    world.check(world.upload())
    assert world.statuses() == ["expired", "completed"]


def test_another_file_under_the_name_is_begun_anew(world: World) -> None:
    give_up_early(world)
    world.path.write_bytes(DATA[::-1])
    world.check(world.upload())
    assert world.statuses() == ["pending", "completed"]


JUNK = [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"upload_id": 3}', b"[" * 9999]


@pytest.mark.parametrize("junk", JUNK)
def test_a_note_that_cannot_be_read_is_no_obstacle(world: World, junk: bytes) -> None:
    give_up_early(world)
    (path,) = world.journal.glob("*.json")
    path.write_bytes(junk)
    world.check(world.upload())


@pytest.mark.parametrize(
    "change",
    [{"part_size": 1}, {"parts": {"77": {"id": "p", "md5": "m"}}}, {"began": 9e18}, {"life": -1}],
)
def test_a_note_that_makes_no_sense_is_no_obstacle(world: World, change: dict[str, Any]) -> None:
    give_up_early(world)
    (path,) = world.journal.glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    world.check(world.upload())


def test_a_folder_that_cannot_be_made_costs_a_warning(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.journal.parent.write_text("a file")
    world.check(world.upload())
    assert "later run begins anew" in caplog.text


def test_notes_hold_neither_key_nor_text(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = b"the patient's name"
    world.path.write_bytes(secret * 20_000)
    give_up_early(world)
    files = [path for path in world.journal.rglob("*") if path.is_file()]
    assert files
    for text in (*(path.read_bytes() for path in files), caplog.text.encode()):
        assert secret not in text
        assert KEY.encode() not in text


def test_old_notes_are_dropped(world: World) -> None:
    give_up_early(world)
    (path,) = world.journal.glob("*.json")
    os.utime(path, (0, 0))
    of_the_user = world.journal / "report.json"
    of_the_user.write_text("{}")
    os.utime(of_the_user, (0, 0))
    with Journal(world.journal, "another").held():
        assert [*world.journal.glob("*.json")] == [of_the_user]


# --- giving up ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/parts", "/complete"])
def test_a_refusal_cancels(world: World, path: str) -> None:
    world.service.fault("POST", path, status=400, times=99)
    with pytest.raises(InvalidRequestError, match="broken on purpose"):
        world.upload()
    assert (world.statuses(), world.notes()) == (["cancelled"], [])
    assert list(world.service.files()) == []


def test_a_wrong_key_keeps_the_parts_for_the_right_one(world: World) -> None:
    give_up_early(world)
    with pytest.raises(AuthError):
        world.upload(key="sk-another")
    assert world.statuses() == ["pending"]
    world.told.clear()
    world.check(world.upload())
    assert world.statuses() == ["completed"]


def test_ctrl_c_cancels_at_once(world: World) -> None:
    world.service.fault("POST", "/parts", delay=9, times=99)
    timer = threading.Timer(0.7, os.kill, [os.getpid(), signal.SIGINT])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        world.upload()
    assert time.monotonic() - began < 4
    assert (world.statuses(), world.notes()) == (["cancelled"], [])


def test_a_file_that_changes_on_the_way_is_refused(world: World) -> None:
    changed = threading.Event()

    def meddle(done: int, total: int) -> None:
        if done > total / 2 and not changed.is_set():
            changed.set()
            with world.path.open("r+b") as out:
                out.write(DATA[::-1])

    with closing(world.backend()) as backend, pytest.raises(ConfigError, match="changed"):
        backend.upload(world.path, progress=meddle)
    assert (world.statuses(), list(world.service.files())) == (["cancelled"], [])


def test_a_file_that_shrinks_on_the_way_is_refused(world: World) -> None:
    world.service.fault("POST", "/parts", delay=0.3, times=1)

    def shrink(done: int, total: int) -> None:
        world.path.write_bytes(DATA[:10])

    with closing(world.backend()) as backend, pytest.raises(ConfigError, match=r"train\.jsonl"):
        backend.upload(world.path, progress=shrink)
    assert world.statuses() == ["cancelled"]


def test_two_at_once_send_one_file(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.service.fault("POST", "/parts", delay=0.5, times=4)
    files: list[File] = []
    threads = [threading.Thread(target=lambda: files.append(world.upload())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.told.clear()
    assert files[0] == files[1]
    world.check(files[0])
    assert len(world.service.uploads) == 1
    assert "another process is sending" in caplog.text


# --- in one request -----------------------------------------------------------------------------


@pytest.fixture
def small(world: World) -> World:
    world.path.write_bytes(b"small" * 100)
    return world


def test_a_small_file_goes_in_one_request(small: World) -> None:
    small.check(small.upload())
    assert (small.service.count("POST", "/files"), small.service.uploads) == (1, {})
    assert small.told[-1] == (500, 500)


@pytest.mark.parametrize("lag", [0.0, LAG - 1])
@pytest.mark.parametrize("fault", [{"lost": "after"}, {"cut": 9}, {"body": b"<html>"}])
def test_a_lost_answer_makes_no_second_file(
    small: World, fault: dict[str, Any], lag: float
) -> None:
    small.service.list_lag = lag
    small.service.fault("POST", "/files", **fault)
    small.check(small.upload())
    assert small.service.count("POST", "/files") == 1


@pytest.mark.parametrize("fault", [{"lost": "before"}, {"status": 500}, {"lost": "during"}])
def test_what_did_not_arrive_is_sent_again(small: World, fault: dict[str, Any]) -> None:
    small.service.fault("POST", "/files", **fault, times=2)
    small.check(small.upload())
    assert small.service.counts["post_files"] == 1


def test_a_refusal_that_was_certain_costs_no_look(small: World) -> None:
    small.service.fault("POST", "/files", status=429, headers={"Retry-After": "2"})
    small.check(small.upload())
    assert (small.waits, small.service.count("GET", "/files")) == ([2.0], 0)


def test_another_file_of_that_name_and_size_is_not_taken_for_ours(small: World) -> None:
    other = small.service.folder / "other"
    other.write_bytes(b"wrong" * 100)
    first = small.service.add_file(small.path.name, other, "fine-tune")
    small.service.fault("POST", "/files", lost="before")
    file = small.upload()
    assert file.id != first.id
    assert small.service.backend.content(file.id) == b"small" * 100


@pytest.mark.parametrize("data", [b"other" * 100, b"more" * 200])
def test_a_small_file_that_changes_on_the_way_is_not_left_there(small: World, data: bytes) -> None:
    def meddle(done: int, total: int) -> None:
        small.path.write_bytes(data)

    with closing(small.backend()) as backend, pytest.raises(ConfigError, match="changed"):
        backend.upload(small.path, progress=meddle)
    assert list(small.service.files()) == []


def test_a_name_may_be_given(small: World) -> None:
    with closing(small.backend()) as backend:
        assert backend.upload(small.path, name="train.abc.jsonl").filename == "train.abc.jsonl"


def test_a_file_that_cannot_be_read_is_a_matter_of_configuration(world: World) -> None:
    world.path.unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*train\.jsonl"):
        world.upload()
    assert world.service.requests == []


@pytest.mark.parametrize("name", ["pipe", "folder", "null"])
def test_what_is_no_file_is_refused_before_anything_is_sent(world: World, name: str) -> None:
    path = world.path.parent / name
    if name == "pipe":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    else:
        path = Path(os.devnull)
    with closing(world.backend()) as backend, pytest.raises(ConfigError, match="regular file"):
        backend.upload(path)
    assert world.service.requests == []


@pytest.mark.parametrize(
    ("path", "odd"),
    [
        ("/uploads", {"id": "\ud800"}),
        ("/uploads", {"created_at": 0, "expires_at": 10**400}),
        ("/parts", {"id": "\ud800"}),
    ],
)
def test_odd_records_are_errors_at_most(world: World, path: str, odd: dict[str, Any]) -> None:
    world.service.fault("POST", path, rewrite=lambda body: body | odd, times=9)
    with suppress(BackendError):
        world.upload()


# --- slices -------------------------------------------------------------------------------------


@given(
    data=st.binary(max_size=300),
    part=st.integers(1, 100),
    sizes=st.lists(st.integers(0, 50) | st.just(-1), max_size=8),
)
def test_slices_are_the_file(data: bytes, part: int, sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "f")
        path.write_bytes(data)
        told: list[int] = []
        meter = Meter(len(data), rising(lambda done, _: told.append(done)))
        whole, sums = md5s(path, part)
        found = b""
        for number, start in enumerate(range(0, len(data), part)):
            size = min(part, len(data) - start)
            with Slice(path, start, size, number, meter) as piece:
                assert (piece.seek(0, os.SEEK_END), piece.seek(0)) == (size, 0)
                for step in sizes:  # a first attempt that broke off
                    piece.read(step)
                piece.seek(0)
                found += piece.read(3) + piece.read()
                assert piece.read() == b""
                assert piece.md5 == sums[number]
    assert found == data
    assert whole == hashlib.md5(data).hexdigest()
    assert told == sorted(set(told))
    assert told[-1:] == ([len(data)] if data else [])


def test_a_sending_that_was_called_off_stops_at_its_next_piece(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x" * 10)
    meter = Meter(10, lambda *_: None)
    meter.stopped.set()
    with Slice(path, 0, 10, 0, meter) as piece, pytest.raises(Interrupted):
        piece.read(1)
