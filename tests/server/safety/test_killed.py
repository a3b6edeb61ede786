"""Killed under load: what was acknowledged is there, every job ends, and its events once each."""

from __future__ import annotations

from pathlib import Path

from tests.server.safety.storm import Scale, storm


def test_a_server_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    outcome = storm(tmp_path, Scale())
    assert outcome.jobs
    assert sum(book.again for book in outcome.books), "no request was cut"
    print(outcome)
