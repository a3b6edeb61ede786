"""The store alone: what no job of a test is long enough for."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import pytest

from ftjobs.backends.base import Rewinds
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.store import News, Store
from ftjobs.errors import NotFoundError
from ftjobs.schema import JobSpec

SPEC = JobSpec(model="m", training_file="file-1")


def many(store: Store, count: int) -> str:
    """A job with as many events, beside those of another."""
    job = store.create_job(SPEC, news=[News(f"n:{number}", str(number)) for number in range(count)])
    store.create_job(SPEC, news=[News("other", "of another job")])
    return job.id


@pytest.mark.parametrize("count", [0, 1, 100, 101, 102, 305])
def test_rewound_events_are_the_same_from_the_end(tmp_path: Path, count: int) -> None:
    store = Store(tmp_path)
    job = many(store, count)
    events = store.events(job)
    assert len(events) == count + 1
    assert list(store.rewind(job)) == events[::-1]
    for place in {0, count // 2, count}:
        assert list(store.rewind(job, events[place].id)) == events[place::-1]


def test_events_that_come_meanwhile_are_not_mixed_in(tmp_path: Path) -> None:
    store = Store(tmp_path)
    job = many(store, 300)
    events = store.events(job)
    rewound = store.rewind(job)
    some = list(islice(rewound, 150))
    store.cancel(job)
    assert some + list(rewound) == events[::-1]


def test_what_is_not_the_jobs_is_not_rewound(tmp_path: Path) -> None:
    store = Store(tmp_path)
    job = many(store, 3)
    (other,) = (each.id for each in store.jobs() if each.id != job)
    assert list(store.rewind(job, store.events(other)[0].id)) == []
    assert list(store.rewind(job, "\udcff")) == []
    with pytest.raises(NotFoundError):
        next(store.rewind("ftjob-none"))


class _Dies(BaseException):
    """Stands for a kill."""


def test_a_file_whose_deletion_was_cut_off_is_there_whole_or_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text("{}\n")
    store = Store(tmp_path / "home")
    file = store.add_file(source, purpose="fine-tune")

    def cut_off() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", Mock(side_effect=_Dies))
            store.delete_file(file.id)

    with pytest.raises(_Dies):
        cut_off()
    assert list(store.files()) == []
    assert store.file_path(file.id).exists()  # until somebody looks
    again = store.add_file(source, purpose="fine-tune")
    store.sweep()
    assert store.file_path(again.id).read_text() == "{}\n"
    with pytest.raises(_Dies):
        cut_off()
    store.sweep()
    assert not store.file_path(file.id).exists()


def test_the_local_backend_rewinds() -> None:
    assert issubclass(LocalBackend, Rewinds)
