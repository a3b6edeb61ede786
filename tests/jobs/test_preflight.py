"""What stands in the way of a job is found before anything is sent, and said usefully."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ftjobs.backends.fake import EVERYTHING, FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.profiles import PROFILES
from ftjobs.config import Settings
from ftjobs.errors import AuthError, ServiceError, UnreachableError
from ftjobs.jobs.plan import PlannedFile
from ftjobs.jobs.preflight import SOON, Note, preflight
from ftjobs.schema import Hyperparameters, JobSpec, Model

LONG_AGO = dt.date(2020, 1, 1)
OPENAI = PROFILES["openai"]
MODEL = "gpt-4o-mini"


class Shop(FakeBackend):
    """A service whose models have dates."""

    shutdown: str | None = None

    def models(self) -> Iterator[Model]:
        for model in super().models():
            yield model.model_copy(update={"shutdown_date": self.shutdown})


def written(path: Path, texts: Sequence[str]) -> PlannedFile:
    rows = [
        {"messages": [{"role": "user", "content": t}, {"role": "assistant", "content": "yes"}]}
        for t in texts
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(data)
    return PlannedFile(path=path, sha256="0" * 64, bytes=len(data), examples=len(rows))


@pytest.fixture
def train(tmp_path: Path) -> PlannedFile:
    return written(tmp_path / "train.jsonl", ["question"] * 12)


@pytest.fixture(autouse=True)
def _no_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no tables"))


def shop(name: str = "openai", shutdown: str | None = None, *, jobs: int = 1) -> Shop:
    backend = Shop(name=name, models=(MODEL,))
    backend.shutdown = shutdown
    for _ in range(jobs):
        job = backend.upload(Path(__file__))
        backend.create(JobSpec(model=MODEL, training_file=job.id))
    return backend


def notes(
    backend: FakeBackend,
    train: PlannedFile,
    today: dt.date = LONG_AGO,
    model: str = MODEL,
    **fields: object,
) -> tuple[Note, ...]:
    spec = JobSpec.model_validate({"model": model, "training_file": "f", **fields})
    return preflight(backend, spec, {"training_file": train}, today=today)


def only(found: tuple[Note, ...]) -> tuple[str, str, str]:
    (note,) = found
    return note.level, note.text, note.hint


def test_nothing_is_said_where_nothing_is_wrong(train: PlannedFile) -> None:
    assert notes(shop(), train) == ()


# --- key and account ------------------------------------------------------------------------------


def test_a_refused_key_ends_it(train: PlannedFile) -> None:
    backend = shop()
    backend.fail_next("jobs", AuthError("no"))
    with pytest.raises(AuthError):
        notes(backend, train)


@pytest.mark.parametrize("error", [ServiceError("broken"), UnreachableError("no connection")])
@pytest.mark.parametrize("method", ["jobs", "models"])
def test_a_service_that_does_not_answer_is_a_warning(
    train: PlannedFile, method: str, error: Exception
) -> None:
    backend = shop()
    backend.fail_next(method, error)
    level, text, hint = only(notes(backend, train))
    assert level == "warning"
    assert str(error) in text
    assert "plan again" in hint


def test_a_key_that_may_not_list_models_may_train(train: PlannedFile) -> None:
    backend = shop()
    backend.fail_next("models", AuthError("missing scope", status=403))
    assert only(notes(backend, train))[0] == "warning"


def test_an_account_without_jobs_at_a_service_closed_to_newcomers(train: PlannedFile) -> None:
    since = OPENAI.closed_to_new_since
    assert since is not None
    level, text, hint = only(notes(shop(jobs=0), train, since))
    assert (level, str(since) in text) == ("warning", True)
    assert "training_not_available" in hint
    assert notes(shop(jobs=0), train, since - dt.timedelta(1)) == ()
    assert notes(shop(jobs=1), train, since) == ()
    assert notes(shop("else", jobs=0), train, since) == ()
    unsure = shop(jobs=0)
    unsure.fail_next("jobs", ServiceError("broken"))
    assert all("takes jobs only" not in note.text for note in notes(unsure, train, since))


@pytest.mark.parametrize(
    ("days", "level", "words"),
    [
        (SOON, "warning", f"in {SOON} days"),
        (2, "warning", "in 2 days"),
        (1, "warning", "tomorrow"),
        (0, "error", "that day has come"),
        (-100, "error", "that day has come"),
    ],
)
def test_the_end_of_a_service_or_a_model(
    train: PlannedFile, days: int, level: str, words: str
) -> None:
    closes = OPENAI.closes
    assert closes is not None
    found = only(notes(shop(), train, closes - dt.timedelta(days)))
    assert found[0] == level
    assert words in found[1]
    assert str(closes) in found[1]
    backend = shop("else", "2030-06-01")
    found = only(notes(backend, train, dt.date(2030, 6, 1) - dt.timedelta(days)))
    assert found[0] == level
    assert words in found[1]
    assert "every model tuned from it" in found[1]


@pytest.mark.parametrize("date", [None, "", "soon", "2030-13-45", "9999-12-31", "2030-06-01T00:00"])
def test_dates_that_say_nothing_yet(train: PlannedFile, date: str | None) -> None:
    assert notes(shop(shutdown=date), train) == ()


# --- the model ------------------------------------------------------------------------------------


def test_a_model_that_the_service_does_not_have(train: PlannedFile) -> None:
    level, text, hint = only(notes(shop(), train, model="gpt-4o-mimi"))
    assert (level, hint) == ("error", f"Did you mean {MODEL}?")
    assert "gpt-4o-mimi" in text
    assert only(notes(shop(), train, model="zzz"))[2] == (
        f"See: ftjobs --backend {shop().name} models list"
    )


def test_a_service_whose_list_may_leave_models_out(train: PlannedFile) -> None:
    assert only(notes(shop("https://host.example/v1"), train, model="zzz"))[0] == "warning"


# --- limits ---------------------------------------------------------------------------------------


def test_a_file_larger_than_the_service_takes(train: PlannedFile) -> None:
    backend = shop()
    backend.capabilities = EVERYTHING.model_copy(update={"max_file_bytes": train.bytes})
    assert notes(backend, train) == ()
    backend.capabilities = EVERYTHING.model_copy(update={"max_file_bytes": train.bytes - 1})
    assert only(notes(backend, train))[0] == "error"


def test_a_validation_file_that_is_the_training_file(train: PlannedFile) -> None:
    files = {"training_file": train, "validation_file": train}
    spec = JobSpec(model=MODEL, training_file="f", validation_file="f")
    found = only(preflight(shop(), spec, files, today=LONG_AGO))
    assert found[0] == "warning"
    assert "valid_loss" in found[1]


def test_a_value_outside_the_services_limits(train: PlannedFile) -> None:
    service, (name, (low, high)) = next(
        (service, limit)
        for service, profile in PROFILES.items()
        for limit in profile.limits.items()
        if limit[0] == "n_epochs"
    )
    backend = shop(service)
    inside = notes(backend, train, hyperparameters=Hyperparameters.model_validate({name: int(low)}))
    assert inside == ()
    outside = Hyperparameters.model_validate({name: int(high) + 1})
    level, text, hint = only(notes(backend, train, hyperparameters=outside))
    assert (level, name in text, f"{high:g}" in hint) == ("error", True, True)


def test_long_examples(tmp_path: Path) -> None:
    short, long = "word " * 10, "word " * 100_000
    file = written(tmp_path / "long.jsonl", [short] * 10 + [long] * 3)
    level, text, _ = only(notes(shop(), file))
    assert level == "warning"
    assert text.startswith(f"{file.path}:11: may be longer than the context")
    assert text.endswith("so are 2 more examples")
    assert "word" not in text
    assert notes(shop(), written(tmp_path / "short.jsonl", [short] * 10)) == ()


def test_a_long_example_of_a_model_whose_context_is_not_known(tmp_path: Path) -> None:
    file = written(tmp_path / "long.jsonl", ["word " * 100_000] * 10)
    backend = Shop(name="else", models=("zzz",))
    assert notes(backend, file, model="zzz") == ()


# --- this machine ---------------------------------------------------------------------------------


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    return LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))


def of_local(local: LocalBackend, train: PlannedFile, model: str) -> tuple[Note, ...]:
    spec = JobSpec(model=model, training_file="f")
    return preflight(local, spec, {"training_file": train}, today=LONG_AGO)


def test_a_base_model_that_this_machine_cannot_load(
    local: LocalBackend, train: PlannedFile, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    level, text, _ = only(of_local(local, train, str(tmp_path / "empty")))
    assert level == "error"
    assert "empty" in text


def test_a_disk_without_room(
    local: LocalBackend, train: PlannedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def free(count: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": count}))

    free(2**40)
    assert of_local(local, train, "smollm2-135m") == ()
    free(2**29)
    assert only(of_local(local, train, "smollm2-135m"))[0] == "warning"
    free(train.bytes - 1)
    level, text, hint = only(of_local(local, train, "smollm2-135m"))
    assert (level, "bytes free" in text, "FTJOBS_HOME" in hint) == ("error", True, True)
