"""What the tests of the local backend share: a tiny model and stores in folders of their own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from tests import tiny


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "train.jsonl", 12)


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[LocalBackend]:
    local = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    yield local
    stop_worker(local)


def write_dataset(path: Path, examples: int) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Question {number}?"},
                {"role": "assistant", "content": f"Answer number {number * 7}."},
            ]
        }
        for number in range(examples)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def worker_pid(backend: LocalBackend) -> int | None:
    """The process of the store's worker, if it lives.  Only ever our own: the store is ours."""
    info = backend.store.worker()
    if info is None:
        return None
    try:
        words = Path(f"/proc/{info.pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return info.pid if str(backend.store.home).encode() in words else None


def stop_worker(backend: LocalBackend, how: signal.Signals = signal.SIGKILL) -> bool:
    """End the store's worker and wait until it is gone.  False if there was none."""
    pid = worker_pid(backend)
    if pid is None:
        return False
    os.kill(pid, how)
    until(lambda: worker_pid(backend) is None)
    return True


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
