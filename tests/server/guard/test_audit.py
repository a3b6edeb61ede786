from __future__ import annotations

import json
import logging
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from ftjobs.server.guard.audit import Audit


def lines(path: Path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_a_full_file_makes_room_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(path, largest=20, kept=2)
    for n in range(10, 18):  # 9 bytes each
        audit.write({"n": n})
    assert lines(path) == [16, 17]
    assert lines(tmp_path / "audit.log.1") == [14, 15]
    assert lines(tmp_path / "audit.log.2") == [12, 13]
    assert len(list(tmp_path.iterdir())) == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_goes_on_with_what_is_there(tmp_path: Path) -> None:
    for n in (1, 2):
        Audit(tmp_path / "audit.log").write({"n": n})
    assert lines(tmp_path / "audit.log") == [1, 2]


def test_what_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "audit.log"
    path.mkdir()
    audit = Audit(path)
    with caplog.at_level(logging.ERROR):
        audit.write({"n": 1})
        audit.write({"n": 2})
    assert len(caplog.records) == 1
    path.rmdir()
    audit.write({"n": 3})
    assert lines(path) == [3]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(path)
    audit.write({"n": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limits[1]))
    try:
        audit.write({"n": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    audit.write({"n": 3})
    assert lines(path) == [1, 3]


def test_a_rotation_that_ends_without_a_file_closes_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(tmp_path / "audit.log", largest=10)
    audit.write({"n": 1})
    closed: list[int] = []

    def close(handle: int, real: Any = os.close) -> None:
        closed.append(handle)
        real(handle)

    def full(*given: Any, real: Any = os.open) -> int:
        if (tmp_path / "audit.log.1").exists():
            raise OSError(24, "Too many open files")
        return int(real(*given))

    monkeypatch.setattr(os, "close", close)
    monkeypatch.setattr(os, "open", full)
    audit.write({"n": 2})  # the handle's number may be a connection's by the second time
    assert len(closed) == len(set(closed))
    monkeypatch.undo()
    audit.write({"n": 3})
    assert lines(tmp_path / "audit.log") == [3]
