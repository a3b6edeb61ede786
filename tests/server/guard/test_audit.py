from __future__ import annotations

import json
import logging
import resource
import signal
from pathlib import Path

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
