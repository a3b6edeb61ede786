"""What is whose, how much of it there may be, and what paths are called."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ModelError
from ftjobs.server.database import Database
from ftjobs.server.locks import Counts, Locks
from ftjobs.server.owners import Owned, Owners
from ftjobs.server.quota import Quota
from ftjobs.server.refusals import Refusal
from ftjobs.server.words import Words, is_name


@pytest.fixture
def owners(tmp_path: Path) -> Iterator[Owners]:
    database = Database(tmp_path / "home")
    yield Owners(database)
    database.close()


def test_a_file_may_have_two_owners(owners: Owners) -> None:
    owners.add("file", "f", "one", size=10)
    owners.add("file", "f", "two", size=10)
    owners.add("job", "f", "three")
    assert owners.projects("file", "f") == ["one", "two"]
    assert (owners.size("one"), owners.size("three")) == (10, 0)
    owners.drop("file", "f", "one")
    assert not owners.has("file", "f", "one")
    assert owners.projects("file", "f") == ["two"]
    owners.drop("file", "f")
    assert owners.projects("file", "f") == []
    assert owners.projects("job", "f") == ["three"]


def test_what_is_a_projects_is_listed_latest_first(owners: Owners) -> None:
    for name in "cab":
        owners.add("file", name, "one")
    owners.add("file", "d", "two")
    owners.add("file", "c", "one")  # had already
    assert list(owners.of("file", "one")) == ["b", "a", "c"]


def test_a_file_lives_as_long_as_it_was_ever_told(owners: Owners) -> None:
    for lives, lasts in (((500, 900), 900), ((900, 500), 900), ((500, None), None),
                         ((None, 500), None)):  # fmt: skip
        for life in lives:
            owners.add("file", "f", "one", life=life)
        found = owners.find("file", "f", "one")
        assert found is not None
        assert (found.expires_at is None) == (lasts is None)
        if found.expires_at is not None and lasts is not None:
            assert abs(found.expires_at - found.created_at - lasts) < 60
        owners.drop("file", "f")
    owners.add("file", "old", "one", life=-1)
    owners.add("file", "new", "one", life=900)
    assert owners.expired() == [("old", "one")]
    now = int(time.time())
    assert Owned(now, now - 1).expired
    assert not Owned(now, None).expired


def test_a_quota_counts_what_is_on_its_way() -> None:
    kept = {"one": 50}
    quota = Quota(100, lambda project: kept.get(project, 0))
    with quota.held("one") as first, quota.held("one") as second:
        first.grow(30)
        with pytest.raises(Refusal) as refused:
            second.grow(21)
        assert refused.value.status == 413
        second.grow(20)
        with quota.held("two") as other:
            other.grow(100)
    with quota.held("one") as again:
        again.grow(50)


def test_a_name_is_locked_alone() -> None:
    locks, order, inside = Locks(), list[str](), threading.Event()

    def other() -> None:
        inside.set()
        with locks.held("a"):
            order.append("second")

    thread = threading.Thread(target=other)
    with locks.held("a"):
        thread.start()
        inside.wait(5)
        with locks.held("b"):
            order.append("first")
    thread.join(5)
    assert order == ["first", "second"]


def test_counts_are_by_name() -> None:
    counts = Counts()
    with counts.one_more("a") as first, counts.one_more("a") as second, counts.one_more("b") as b:
        assert (first, second, b) == (1, 2, 1)
    with counts.one_more("a") as again:
        assert again == 1


def test_folders_have_names_outside(tmp_path: Path) -> None:
    folder, home = tmp_path / "models" / "support", tmp_path / "home"
    words = Words({"support-base": str(folder), "other": "org/model"}, home)
    assert words.model(str(folder)) == "support-base"
    assert words.model("org/model") == "other"
    assert words.model("/srv/elsewhere/thing") == "thing"
    assert words.model("smollm2-135m") == "smollm2-135m"
    assert (
        words.plain(f"{folder}/config.json is not there") == "support-base/config.json is not there"
    )
    assert str(tmp_path) not in words.plain(f"see {home}/worker.log")
    assert words.plainly({"a": [str(folder), 1, None]}) == {"a": ["support-base", 1, None]}
    with pytest.raises(ModelError) as error, words.used():
        raise ModelError(f"{folder} is empty", hint=f"Look into {folder}")
    assert str(tmp_path) not in str(error.value)


@given(st.text(max_size=20))
def test_what_is_a_name_is_no_absolute_path(text: str) -> None:
    if is_name(text):
        assert not Path(text).is_absolute()
        assert not text.startswith(("..", "~", "\\"))
