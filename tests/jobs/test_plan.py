"""A plan says what would happen, and is carried out only where that still holds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from ftjobs.backends.base import Progress
from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import (
    AuthError,
    BackendError,
    ConfigError,
    CostError,
    FtjobsError,
    InvalidRequestError,
    StalePlanError,
)
from ftjobs.jobs.files import name_at_service
from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.plan import Plan, apply, plan_job
from ftjobs.jobs.preflight import Note
from ftjobs.schema import IDENTITY, Capabilities, File, Job


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write(tmp_path / "train.jsonl", "q")


def write(path: Path, word: str) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{word}{n}"},
                {"role": "assistant", "content": "a"},
            ]
        }
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def planned(backend: FakeBackend, train: Path, **how: object) -> Plan:
    return plan_job(backend, train, **{"model": "fake-base", "priced": False} | how)  # type: ignore[arg-type]


def finish(backend: FakeBackend, job: Job) -> Job:
    while not job.ended:
        job = backend.retrieve(job.id)
    return job


def test_a_plan_sends_nothing_and_survives_its_file(train: Path) -> None:
    backend = FakeBackend()
    plan = planned(backend, train, suffix="s")
    assert list(backend.files()) == []
    assert list(backend.jobs()) == []
    assert plan.adopt is None
    assert plan.files["training_file"].examples == 12
    assert plan.spec.training_file == str(train)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


def test_the_same_plan_always_ends_in_the_same_job(train: Path) -> None:
    backend = FakeBackend()
    plan = planned(backend, train)
    job = apply(backend, plan)
    assert job.metadata[IDENTITY] == plan.identity
    assert apply(backend, plan).id == job.id
    assert apply(backend, planned(backend, train)).id == job.id
    finish(backend, job)
    assert apply(backend, plan).id == job.id
    assert len(list(backend.jobs())) == 1
    assert len([file for file in backend.files() if file.purpose == "fine-tune"]) == 1


def test_again_makes_another_once(train: Path) -> None:
    backend = FakeBackend()
    first = apply(backend, planned(backend, train))
    another = planned(backend, train, again=True)
    second = apply(backend, another)
    assert second.id != first.id
    assert apply(backend, another).id == second.id
    assert not backend.retrieve(first.id).ended


def test_a_paused_job_is_adopted_and_how_it_goes_on_is_said(train: Path) -> None:
    backend, said = FakeBackend(), list[str]()
    job = apply(backend, planned(backend, train))
    backend.pause(job.id)
    assert apply(backend, planned(backend, train), say=said.append).id == job.id
    assert said[-1] == f"it goes on with: ftjobs jobs resume {job.id}"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_a_job_that_came_to_nothing_is_started_anew(train: Path, ending: str) -> None:
    backend = FakeBackend()
    first = apply(backend, planned(backend, train))
    backend.cancel(first.id)
    second = apply(backend, planned(backend, train))
    assert second.id != first.id
    assert apply(backend, planned(backend, train)).id == second.id


def test_a_plan_that_counts_on_a_job_which_came_to_nothing_is_stale(train: Path) -> None:
    backend = FakeBackend()
    job = apply(backend, planned(backend, train))
    plan = planned(backend, train)
    assert plan.adopt == job.id
    backend.cancel(job.id)
    with pytest.raises(StalePlanError, match=job.id):
        apply(backend, plan)


def test_changed_data_makes_a_plan_stale(train: Path) -> None:
    backend = FakeBackend()
    plan = planned(backend, train)
    write(train, "other")
    with pytest.raises(StalePlanError, match=r"train\.jsonl"):
        apply(backend, plan)
    assert list(backend.files()) == []


def test_data_that_changes_while_it_is_sent_is_not_kept(train: Path) -> None:
    class Slow(FakeBackend):
        def upload(
            self,
            path: Path,
            *,
            name: str | None = None,
            purpose: str = "fine-tune",
            progress: Progress | None = None,
        ) -> File:
            write(path, "changed")
            os.utime(path, (1, 1))
            return super().upload(path, name=name, purpose=purpose, progress=progress)

    backend = Slow()
    with pytest.raises(StalePlanError, match="while it was sent"):
        apply(backend, planned(backend, train))
    assert list(backend.files()) == []
    assert list(backend.jobs()) == []


def test_a_file_that_others_sent_stays_though_the_one_here_has_changed(train: Path) -> None:
    seconds = count(1)

    class Touching(FakeBackend):
        def files(self) -> Iterator[File]:
            os.utime(train, (next(seconds),) * 2)
            return super().files()

    backend = Touching()
    plan = planned(backend, train)
    sent = backend.upload(train, name=name_at_service(train, plan.files["training_file"].sha256))
    assert apply(backend, plan).training_file == sent.id
    assert sent.id in [file.id for file in backend.files()]


def test_a_plan_applied_in_another_folder_says_so(
    train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(train.parent)
    backend = FakeBackend()
    plan = planned(backend, Path(train.name))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot read train") as caught:
        apply(backend, plan)
    assert "elsewhere" in caught.value.hint


def test_a_plan_whose_model_is_gone_since_is_stale(train: Path) -> None:
    plan = planned(FakeBackend(name="openai", models=("fake-base", "other")), train)
    later = FakeBackend(name="openai", models=("other",))
    with pytest.raises(StalePlanError, match="fake-base"):
        apply(later, plan.model_copy(update={"created_at": plan.created_at - 3600}))
    assert list(later.files()) == []


def test_a_plan_is_for_one_backend(train: Path) -> None:
    plan = planned(FakeBackend(name="here"), train)
    with pytest.raises(StalePlanError, match="for here, not for there"):
        apply(FakeBackend(name="there"), plan)


def test_a_plan_with_errors_or_too_dear_is_not_carried_out(train: Path) -> None:
    backend = FakeBackend()
    plan = planned(backend, train)
    refused = Note(level="error", text="the model is gone", hint="take another")
    with pytest.raises(FtjobsError, match="the model is gone"):
        apply(backend, plan.model_copy(update={"notes": (refused,)}))
    with pytest.raises(CostError):
        apply(backend, plan.model_copy(update={"max_cost": 1.0}))
    assert list(backend.files()) == []


@pytest.mark.parametrize(
    "refusal", [None, AuthError("403 not yours"), InvalidRequestError("400 no id of ours")]
)
def test_what_the_ledger_remembers_of_another_account_stops_nothing(
    train: Path, tmp_path: Path, refusal: BackendError | None
) -> None:
    class Strict(FakeBackend):
        def retrieve(self, job_id: str) -> Job:
            if refusal and job_id == "ftjob-gone":
                raise refusal
            return super().retrieve(job_id)

        def file(self, file_id: str) -> File:
            if refusal and file_id == "file-gone":
                raise refusal
            return super().file(file_id)

    ledger, backend = Ledger(tmp_path / "home"), Strict()
    plan = planned(backend, train)
    ledger.remember_job("fake", plan.identity, "ftjob-gone")
    ledger.remember_file("fake", plan.files["training_file"].sha256, "file-gone")
    job = apply(backend, planned(backend, train, ledger=ledger), ledger=ledger)
    assert job.id != "ftjob-gone"
    assert job.training_file != "file-gone"


def test_a_job_of_other_content_that_took_a_remembered_id_does_not_count(
    train: Path, tmp_path: Path
) -> None:
    ledger, backend = Ledger(tmp_path / "home"), FakeBackend()
    other = apply(backend, planned(backend, train, suffix="other"))
    plan = planned(backend, train)
    ledger.remember_job("fake", plan.identity, other.id)  # by a service that began anew since
    assert apply(backend, plan, ledger=ledger).id != other.id


def test_a_service_without_metadata_carries_the_identity_in_the_suffix(train: Path) -> None:
    limited = Capabilities(metadata=False, identity="suffix")
    backend = FakeBackend(capabilities=limited)
    plan = planned(backend, train, suffix="s")
    job = apply(backend, plan)
    assert job.suffix == f"s-{plan.identity[:12]}"
    assert job.metadata == {}
    assert apply(backend, planned(backend, train, suffix="s")).id == job.id


def test_two_threads_with_one_ledger_make_one_job(train: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend, ledger = FakeBackend(), Ledger(tmp_path / "home")
    plan = planned(backend, train)
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: apply(backend, plan, ledger=ledger).id, range(8)))
    assert len({*jobs}) == 1
    assert len(list(backend.jobs())) == 1
