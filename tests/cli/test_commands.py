import json
import re
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli.adjust import SETTINGS
from ftjobs.client import Client
from ftjobs.schema import IDENTITY, Hyperparameters, Job, JobError
from tests.cli.conftest import DATASETS, TRAIN, Run


@pytest.fixture
def job(backend: FakeBackend) -> Job:
    """A job that has succeeded."""
    client = Client(backend)
    job = client.submit(TRAIN, model="fake-base", suffix="s", metadata={"team": "a"})
    return client.wait(job, sleep=lambda _: None)


# --- data, explain -----------------------------------------------------------------------------


def test_check_says_where(run: Run) -> None:
    path = str(DATASETS / "broken/line-7.jsonl")
    result = run("data", "check", path)
    assert result.code == 3
    assert result.out.startswith(f"{path}:7:")
    assert "not usable" in result.err


def test_check_as_json(run: Run) -> None:
    result = run("data", "check", TRAIN, str(DATASETS / "broken/line-7.jsonl"), "--json")
    good, issue, bad = result.rows
    assert (good["object"], good["ok"], good["errors"]) == ("report", True, 0)
    assert (issue["line"], issue["severity"]) == (7, "error")
    assert (bad["ok"], bad["errors"]) == (False, 1)
    assert (result.code, result.err) == (3, "")


def test_check_for_a_service(run: Run) -> None:
    path = str(DATASETS / "broken/nine-examples.jsonl")
    assert run("data", "check", path).code == 0
    assert run("data", "check", path, "--for", "openai").code == 3
    assert run("data", "check", path, "--for", "nowhere").code == 2


def test_check_stops_after_so_many(run: Run) -> None:
    path = str(DATASETS / "broken/every-mistake.jsonl")
    everything = run("data", "check", path, "--json").rows
    some = run("data", "check", path, "--json", "--max-errors", "2").rows
    assert sum(row.get("severity") == "error" for row in some) == 2
    assert some[-1]["truncated"] > 0
    assert some[-1]["errors"] == everything[-1]["errors"]


def test_a_missing_file(run: Run) -> None:
    result = run("data", "check", "nowhere.jsonl")
    assert result.code == 2
    assert "nowhere.jsonl" in result.err


def test_explain(run: Run) -> None:
    assert "FT101: byte order mark" in run("explain", "ft101").out
    assert run("explain", "FT101", "--json").rows[0]["code"] == "FT101"
    assert run("explain", "FT999").code == 2


# --- submit ------------------------------------------------------------------------------------


def test_submit_prints_the_id_and_how_to_watch(run: Run, backend: FakeBackend) -> None:
    result = run("--backend", "local", "submit", TRAIN, "--model", "fake-base")
    (job,) = backend.jobs()
    assert (result.code, result.out) == (0, f"{job.id}\n")
    assert result.err.endswith(f"Watch it: ftjobs --backend local watch {job.id}\n")


def test_submit_takes_everything_that_a_job_has(run: Run) -> None:
    result = run(
        *("submit", TRAIN, "--model", "fake-base", "--json"),
        *("--validation", str(DATASETS / "support/valid.jsonl")),
        *("--suffix", "s", "--seed", "3", "--metadata", "a=b=c", "--metadata", "d="),
        *("--n-epochs", "2", "--batch-size", "auto", "--lora-r", "8", "--learning-rate", "1e-4"),
    )
    (job,) = result.rows
    assert (job["suffix"], job["seed"], job["metadata"]) == (
        "s",
        3,
        {"a": "b=c", "d": "", IDENTITY: job["metadata"][IDENTITY]},
    )
    assert job["validation_file"]
    hyperparameters = job["hyperparameters"]
    assert (hyperparameters["n_epochs"], hyperparameters["batch_size"]) == (2, "auto")
    assert (hyperparameters["lora_r"], hyperparameters["learning_rate"]) == (8, 1e-4)


def test_options_are_the_fields_with_their_descriptions(run: Run) -> None:
    text = " ".join(run("submit", "--help").out.split())
    for name, field in Hyperparameters.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert str(field.description) in text
    text = " ".join(run("chat", "--help").out.split())
    assert all(f"--{name.replace('_', '-')} " in text for name in SETTINGS)
    assert "logprobs" not in text


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--n-epochs", "many"], 2, "n_epochs"),
        (["--metadata", "novalue"], 2, "KEY=VALUE"),
        (["--method", "reinforcement"], 2, "no method"),
        (["--validation", str(DATASETS / "broken/line-7.jsonl")], 3, "line-7.jsonl:7"),
    ],
)
def test_submit_refuses(
    run: Run, backend: FakeBackend, args: list[str], code: int, words: str
) -> None:
    result = run("submit", TRAIN, "--model", "fake-base", *args)
    assert (result.code, result.out) == (code, "")
    assert words in result.err
    assert list(backend.files()) == []


def test_submit_warns_and_goes_on(run: Run, tmp_path: Path) -> None:
    rows = (DATASETS / "support/train.jsonl").read_text("utf-8").replace("\n", "\n\n")
    path = tmp_path / "gaps.jsonl"
    path.write_text(rows, "utf-8")
    result = run("submit", str(path), "--model", "fake-base")
    assert result.code == 0
    assert result.err.count("FT107") == 5
    assert "more warnings" in result.err


def test_submit_and_watch(run: Run) -> None:
    result = run("submit", TRAIN, "--model", "fake-base", "--watch", "--json")
    objects = [row["object"] for row in result.rows]
    assert result.code == 0
    assert (objects[0], objects[-1]) == ("fine_tuning.job", "fine_tuning.job")
    assert set(objects[1:-1]) == {"fine_tuning.job.event"}
    assert result.rows[-1]["status"] == "succeeded"


# --- jobs, files, models -----------------------------------------------------------------------


def test_jobs(run: Run, job: Job) -> None:
    assert job.id in run("jobs", "list").out
    assert [row["id"] for row in run("jobs", "list", "--json").rows] == [job.id]
    assert run("jobs", "list", "--metadata", "team=b", "--json").rows == []
    assert run("jobs", "show", "latest", "--json").rows == [json.loads(job.model_dump_json())]
    shown = run("jobs", "show", job.id).out
    assert f"fine-tuned model  {job.fine_tuned_model}" in shown
    assert "team=a" in shown
    assert "The job has successfully completed" in run("jobs", "events", "latest").out
    assert run("jobs", "events", "latest", "--json").rows[0]["object"] == "fine_tuning.job.event"
    assert ":ckpt-step-2" in run("jobs", "checkpoints", job.id).out
    assert run("jobs", "checkpoints", job.id, "--json").rows[-1]["step_number"] == 2
    assert [row["step"] for row in run("jobs", "metrics", job.id, "--json").rows] == [1, 2]
    assert "1.6000" in run("jobs", "metrics", job.id).out


def test_a_first_job_is_yet_to_come(run: Run) -> None:
    listed = run("jobs", "list")
    assert (listed.code, listed.out) == (0, "")
    assert "ftjobs submit starts one" in listed.err
    assert run("jobs", "show", "latest").code == 1
    assert run("jobs", "show", "ftjob-nowhere").code == 1


def test_steering(run: Run, backend: FakeBackend) -> None:
    job = Client(backend).submit(TRAIN, model="fake-base")
    assert run("jobs", "pause", job.id).err == f"Job {job.id} is paused.\n"
    assert run("jobs", "resume", job.id, "--json").rows[0]["status"] != "paused"
    assert run("jobs", "cancel", "latest", "--json").rows[0]["status"] == "cancelled"
    assert run("jobs", "pause", job.id).code == 1


def test_files(run: Run, job: Job) -> None:
    assert re.search(r"train\.[0-9a-f]{16}\.jsonl", run("files", "list").out)
    assert job.training_file in [row["id"] for row in run("files", "list", "--json").rows]
    assert "train.ce0c89eb99974fc6.jsonl" in run("files", "show", job.training_file).out
    assert run("files", "show", job.training_file, "--content").out == Path(TRAIN).read_text(
        "utf-8"
    )
    deleted = run("files", "delete", job.training_file, "--json")
    assert deleted.rows == [{"id": job.training_file, "deleted": True}]
    assert run("files", "show", job.training_file).code == 1


def test_models(run: Run, job: Job) -> None:
    assert str(job.fine_tuned_model) in run("models", "list").out
    assert run("models", "list", "--json").rows[0]["id"] == "fake-base"
    assert run("models", "delete", str(job.fine_tuned_model)).code == 0
    assert run("models", "delete", "fake-base").code == 1
    assert run("models", "pull", "fake-base").code == 2


# --- doctor ------------------------------------------------------------------------------------


def test_doctor(run: Run, backend: FakeBackend) -> None:
    assert run("doctor").code == 0
    backend.fail_next("models", RuntimeError("not ours"))
    assert run("doctor").code == 1
    rows = run("doctor", "--json").rows
    assert [row["name"] for row in rows] == ["ftjobs", "backend", "service"]


def test_doctor_survives_settings_that_cannot_be_used(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTJOBS_DISPLAY", "loud")
    result = run("doctor")
    assert result.code == 1
    assert "FAIL  backend: setting 'display'" in result.out


def test_a_job_that_fails_says_why(run: Run, backend: FakeBackend) -> None:
    failing = FakeBackend(fail_with=JobError(code="bad_data", message="line 3"), fail_at=1)
    backend.__dict__.update(failing.__dict__)
    result = run("submit", TRAIN, "--model", "fake-base", "--watch")
    assert result.code == 5
    assert "bad_data: line 3" in result.err
