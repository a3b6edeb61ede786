from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError, NotFoundError, StoreError
from ftjobs.server.database import Database
from ftjobs.server.keys import Keys
from ftjobs.server.sessions import KEPT, Sessions


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path)
    yield opened
    opened.close()


def test_a_damaged_database_opens_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path)
    keys = Keys(database)
    keys.revoke(keys.create("a", "train")[0].id)
    database.close()
    whole = database.path.read_bytes()
    assert len(whole) > 4096, "the rows have a page of their own"
    for damaged in (whole[:5000], whole[:4096] + bytes(len(whole) - 4096), b"x" * 9000):
        database.path.write_bytes(damaged)
        with pytest.raises(StoreError) as refused:
            Database(tmp_path)
        assert "backup" in refused.value.hint
    database.path.write_bytes(whole)
    Database(tmp_path).close()


def test_a_key_is_its_projects_until_it_is_revoked(database: Database) -> None:
    keys = Keys(database)
    assert not keys.any()
    key, text = keys.create("a", "train")
    found = keys.find(text)
    assert found is not None
    assert (found.project, found.scope, found.key_id) == ("a", "train", key.id)
    keys.revoke(key.id)
    keys.revoke(key.id)
    assert keys.find(text) is None
    assert keys.any()
    assert [each.revoked_at is None for each in keys.all()] == [False]
    with pytest.raises(NotFoundError):
        keys.revoke("000000000000")


def test_no_key_is_on_the_disk(database: Database, tmp_path: Path) -> None:
    keys, sessions = Keys(database), Sessions(database)
    key, text = keys.create("a", "train")
    session = sessions.begin(key.id)
    secret = text.removeprefix(f"ftj-{key.id}-")
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes()
        assert session.encode() not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0 or path.suffix in (".db-wal", ".db-shm")


@pytest.mark.parametrize("project", ["", "A", "a b", "../x", "-a", "a" * 64, "ä", "a\n"])
def test_names_of_projects_are_plain(database: Database, project: str) -> None:
    with pytest.raises(ConfigError):
        Keys(database).create(project, "read")


def test_a_key_is_found_while_another_thread_holds_a_transaction(database: Database) -> None:
    """The event loop looks keys up: it may wait for no disk."""
    keys = Keys(database)
    _, text = keys.create("a", "train")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with database.transaction() as db:
            db.execute("UPDATE keys SET project='b'")
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(30)
        found = keys.find(text)
    finally:
        done.set()
        thread.join()
    assert found is not None
    assert found.project == "a"
    changed = keys.find(text)
    assert changed is not None
    assert changed.project == "b"


def test_the_connection_for_reading_cannot_write(database: Database) -> None:
    Keys(database)
    with pytest.raises(Exception, match="readonly"):
        database.committed("DELETE FROM keys")


@given(st.text())
def test_no_text_breaks_the_search(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    database = Database(tmp_path_factory.getbasetemp() / "search")
    try:
        assert Keys(database).find(text) is None
        assert Sessions(database).find(text) is None
    finally:
        database.close()


def test_a_session_ends_with_its_time_its_key_or_when_it_is_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, sessions = Keys(database), Sessions(database)
    key, _ = keys.create("a", "read")
    first, second = sessions.begin(key.id), sessions.begin(key.id)
    assert sessions.find(first) == sessions.find(second)
    found = sessions.find(first)
    assert found is not None
    assert (found.project, found.scope, found.key_id) == ("a", "read", key.id)
    sessions.end(first)
    assert sessions.find(first) is None
    assert sessions.find(second) is not None
    now = time.time()
    with monkeypatch.context() as later:
        later.setattr("time.time", lambda: now + KEPT + 1)
        assert sessions.find(second) is None
        sessions.begin(key.id)
        assert len(database.rows("SELECT * FROM sessions")) == 1  # what is over is forgotten
    keys.revoke(key.id)
    assert sessions.find(second) is None


def test_a_session_is_of_a_key_that_there_is(database: Database) -> None:
    Keys(database)
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        Sessions(database).begin("000000000000")
