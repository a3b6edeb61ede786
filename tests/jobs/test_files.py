from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.base import Progress
from ftjobs.backends.fake import FakeBackend
from ftjobs.disk import stamp_of
from ftjobs.errors import ConfigError, DeadlineError, InvalidRequestError
from ftjobs.jobs.files import ensure_file, find_file, name_at_service, sha256_of
from ftjobs.jobs.ledger import Ledger
from ftjobs.schema import File
from tests.jobs.lagging import Clock


class Counting(FakeBackend):
    def __init__(self, *states: str) -> None:
        super().__init__()
        self.uploads = 0
        self.states = list(states)

    def upload(
        self,
        path: Path,
        *,
        name: str | None = None,
        purpose: str = "fine-tune",
        progress: Progress | None = None,
    ) -> File:
        self.uploads += 1
        sent = super().upload(path, name=name, purpose=purpose, progress=progress)
        return sent.model_copy(update={"status": "pending"}) if self.states else sent

    def file(self, file_id: str) -> File:
        state = self.states.pop(0) if len(self.states) > 1 else (self.states or ["processed"])[0]
        return super().file(file_id).model_copy(update={"status": state, "status_details": "why"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "日本語 train.v2.jsonl"
    path.write_bytes(b'{"messages": []}\n')
    return path


def ensure(
    backend: FakeBackend, path: Path, ledger: Ledger | None = None, clock: Clock | None = None
) -> File:
    clock = clock or Clock()
    return ensure_file(
        backend,
        path,
        *sha256_of(path),
        stamp=stamp_of(path),
        ledger=ledger,
        sleep=clock.sleep,
        now=clock.now,
    )


def test_the_same_bytes_go_up_once_from_any_machine(path: Path, tmp_path: Path) -> None:
    backend = Counting()
    first = ensure(backend, path, Ledger(tmp_path / "one"))
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    assert ensure(backend, copy, Ledger(tmp_path / "two")).id == first.id
    assert ensure(backend, path).id == first.id
    assert backend.uploads == 1
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in first.filename


def test_other_bytes_go_up(path: Path) -> None:
    backend = Counting()
    first = ensure(backend, path)
    path.write_bytes(b'{"messages": [1]}\n')
    assert ensure(backend, path).id != first.id
    assert backend.uploads == 2


def test_what_the_ledger_says_is_verified(path: Path, tmp_path: Path) -> None:
    backend, ledger = Counting(), Ledger(tmp_path / "home")
    first = ensure(backend, path, ledger)
    backend.delete_file(first.id)
    assert ensure(backend, path, ledger).id != first.id
    assert backend.uploads == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes": 5},
        {"status": "error"},
        {"status": "deleted"},
        {"purpose": "batch"},
        {"expires_at": int(time.time()) + 3600},
    ],
)
def test_a_file_that_would_not_do_is_not_reused(path: Path, changes: dict[str, object]) -> None:
    class Other(FakeBackend):
        def files(self):  # type: ignore[no-untyped-def]
            return iter([file.model_copy(update=changes) for file in super().files()])

    backend = Other()
    ensure(backend, path)
    assert find_file(backend, *sha256_of(path)) is None


def test_a_file_of_which_the_service_says_only_the_name_is_reused(path: Path) -> None:
    class Terse(FakeBackend):
        def files(self):  # type: ignore[no-untyped-def]
            said = {"bytes": 0, "created_at": 0, "purpose": ""}
            return iter([file.model_copy(update=said) for file in super().files()])

    backend = Terse()
    sent = ensure(backend, path)
    found = find_file(backend, *sha256_of(path))
    assert found is not None
    assert found.id == sent.id


def test_a_file_is_waited_for_while_the_service_looks_through_it(path: Path) -> None:
    clock = Clock()
    assert ensure(Counting("pending", "running", "processed"), path, clock=clock).id
    assert clock.at > 0
    with pytest.raises(InvalidRequestError, match="why"):
        ensure(Counting("pending", "error"), path)
    with pytest.raises(DeadlineError, match="still looking"):
        ensure(Counting("running"), path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        sha256_of(tmp_path / "nowhere")


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80))
def test_names_at_the_service_are_plain(stem: str) -> None:
    name = name_at_service(Path("folder") / f"{stem}x.jsonl", "ab" * 32)
    assert name.isascii()
    assert len(name) <= 64
    assert name.endswith("." + "ab" * 8 + ".jsonl")
    assert "/" not in name
