"""Whether a job fits, as a plan says it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftjobs.backends.base import Fit
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.fit import machine
from ftjobs.backends.local.fit.machine import Room
from ftjobs.config import Settings
from ftjobs.errors import FtjobsError
from ftjobs.jobs import fit as fits
from ftjobs.jobs.plan import Plan, check_sound, plan_job
from ftjobs.reports.plan import duration, fit_in_words, text
from tests import tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def train(tmp_path: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "x" * n},
                {"role": "assistant", "content": "yes"},
            ]
        }
        for n in range(60, 80)
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))


def has_room(monkeypatch: pytest.MonkeyPatch, free: float, total: float) -> None:
    monkeypatch.setattr(machine, "room", lambda: Room(int(free), int(total)))


def plan(local: LocalBackend, train: Path, model: str, **more: object) -> Plan:
    return plan_job(local, train, model=model, **more)  # type: ignore[arg-type]


def test_a_plan_says_what_a_job_needs(local: LocalBackend, train: Path, model: str) -> None:
    found = plan(local, train, model)
    assert found.fit is not None
    assert found.errors == ()
    assert "needs" in text(found)
    assert Plan.model_validate_json(found.model_dump_json()) == found


def test_a_job_that_cannot_fit_is_refused(
    local: LocalBackend, train: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = plan(local, train, model).fit
    assert fit is not None
    for priced in (True, False):  # as `plan` and as `submit`
        has_room(monkeypatch, fit.bytes / 2, fit.bytes / 2)
        found = plan(local, train, model, priced=priced)
        (note,) = found.errors
        assert "needs about" in note.text
        assert "a smaller base model" in note.hint
        assert "ending other programs" not in note.hint
        with pytest.raises(FtjobsError, match="cannot run"):
            check_sound(found)


def test_other_programs_may_be_in_the_way(
    local: LocalBackend, train: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = plan(local, train, model).fit
    assert fit is not None
    has_room(monkeypatch, fit.bytes / 2, fit.bytes * 9)
    (note,) = plan(local, train, model).errors
    assert "ending other programs" in note.hint
    has_room(monkeypatch, fit.bytes / 0.9, fit.bytes * 9)
    found = plan(local, train, model)
    assert found.errors == ()
    assert [note.level for note in found.notes if "may not fit" in note.text] == ["warning"]


def test_settings_that_leave_no_step_are_an_error(
    local: LocalBackend, train: Path, model: str
) -> None:
    settings = {"batch_size": 64, "drop_last_batch": True}
    (note,) = plan(local, train, model, hyperparameters=settings).errors
    assert "drop_last_batch" in note.text


def test_large_files_are_counted_only_for_a_plan(
    local: LocalBackend, train: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "QUICK", 10)
    assert plan(local, train, model, priced=False).fit is None
    assert plan(local, train, model, priced=True).fit is not None


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("context_length", 100, "longer than the base model's context"),
        ("max_prompt_length", 90, "max_prompt_length"),
        ("max_completion_length", 3, "max_completion_length"),
    ],
)
def test_lengths_that_were_asked_for_are_looked_at(
    local: LocalBackend, train: Path, model: str, setting: str, value: int, words: str
) -> None:
    assert plan(local, train, model).errors == ()
    (note,) = plan(local, train, model, hyperparameters={setting: value}).errors
    assert words in note.text


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({}, 5),
        ({"batch_size": 4}, 10),
        ({"batch_size": 4, "n_epochs": 2}, 2),
        ({"batch_size": 2, "gradient_accumulation_steps": 2}, 10),
    ],
)
def test_epochs_follow_the_batch(
    local: LocalBackend, train: Path, model: str, settings: dict[str, int], epochs: int
) -> None:
    found = plan(local, train, model, hyperparameters=settings)
    assert found.cost is not None
    assert found.fit is not None
    assert found.cost.epochs == epochs
    assert found.fit.tokens == found.cost.billed_tokens


def test_a_service_foretells_nothing(train: Path) -> None:
    from ftjobs.backends.fake import FakeBackend

    backend = FakeBackend()
    found = plan_job(backend, train, model="fake-model")
    assert found.fit is None


# --- words ------------------------------------------------------------------------------------

FIT = Fit(
    device="2 cores", dtype="bfloat16", bytes=1_310_000_000, parts={}, free_bytes=22 * 10**9,
    total_bytes=24 * 10**9, longest=200, tokens_at_once=1024, tokens=40_000,
    tokens_per_second=170, source="3 earlier jobs", seconds=240,
)  # fmt: skip


def test_in_words() -> None:
    assert fit_in_words(FIT) == (
        "about 1.3 GB of 22.0 GB that are free, about 4 min on 2 cores in bfloat16 "
        "(by 3 earlier jobs)"
    )
    unknown = FIT.model_copy(update={"free_bytes": None, "seconds": None})
    assert fit_in_words(unknown) == (
        "about 1.3 GB, on 2 cores in bfloat16; once ftjobs doctor has run, the time is known too"
    )
    assert unknown.share == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4, "4 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5_000, "83 min"),
        (9_000, "2.5 h"),
        (2e5, "2.3 days"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
