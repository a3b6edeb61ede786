import json

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli.display import Json, Plain, Quiet, choose, display_for, numbers, summary
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import UnreachableError
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick
from ftjobs.schema import Event, Job
from tests.cli.conftest import TRAIN, Run


@pytest.fixture
def job(backend: FakeBackend) -> Job:
    return Client(backend).submit(TRAIN, model="fake-base")


@pytest.mark.parametrize(
    ("wanted", "terminal", "environ", "chosen"),
    [
        ("auto", True, {}, "full"),
        ("auto", True, {"NO_COLOR": "1"}, "full"),
        ("auto", False, {}, "plain"),
        ("auto", True, {"CI": "true"}, "plain"),
        ("auto", True, {"TERM": "dumb"}, "plain"),
        ("full", False, {"CI": "true"}, "full"),
        ("json", True, {}, "json"),
        ("quiet", True, {}, "quiet"),
    ],
)
def test_the_ladder(wanted: str, terminal: bool, environ: dict[str, str], chosen: str) -> None:
    assert choose(wanted, terminal, environ) == chosen


def test_the_settings_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("json", Json), ("plain", Plain), ("quiet", Quiet)):
        monkeypatch.setenv("FTJOBS_DISPLAY", name)
        assert type(display_for(Settings.load())) is kind
    assert type(display_for(Settings.load(), as_json=True)) is Json


def test_plain_lines(run: Run, job: Job) -> None:
    result = run("watch", job.id, "--every", "0")
    lines = result.out.splitlines()
    assert result.code == 0
    assert all(line[4] == "-" and line[19] == "Z" for line in lines)
    assert any("status running" in line for line in lines)
    assert any("running  step 1/2  train loss 1.6000" in line for line in lines)
    assert sum("Fine-tuning job started" in line for line in lines) == 1
    assert f"{job.id} succeeded after" in lines[-1]
    assert "Step 1/2" not in result.out


def test_json_lines_are_every_event_once_and_then_the_job(
    run: Run, backend: FakeBackend, job: Job
) -> None:
    rows = run("watch", job.id, "--json").rows
    assert [row["id"] for row in rows[:-1]] == [event.id for event in backend.events(job.id)]
    assert (rows[-1]["id"], rows[-1]["status"]) == (job.id, "succeeded")


def test_quiet_says_nothing_but_the_exit_code(
    run: Run, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTJOBS_DISPLAY", "quiet")
    result = run("watch", job.id)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_a_cancelled_job_is_5(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.cancel(job.id)
    result = run("watch", job.id)
    assert result.code == 5
    assert result.err == f"error: job {job.id} was cancelled\n"


def test_a_timeout_is_8_and_the_job_goes_on(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.pause(job.id)
    result = run("watch", job.id, "--timeout", "0.05")
    assert result.code == 8
    assert "still paused" in result.err
    assert backend.retrieve(job.id).status == "paused"


def test_once_looks_once(run: Run, backend: FakeBackend, job: Job) -> None:
    assert run("watch", job.id, "--once").code == 0
    assert not backend.retrieve(job.id).ended


def test_without_an_id_it_is_the_newest_that_runs(run: Run, backend: FakeBackend) -> None:
    client = Client(backend)
    first, second, third = (client.submit(TRAIN, model="fake-base") for _ in range(3))
    backend.cancel(third.id)
    assert second.id in run("watch").out
    assert first.id in run("watch").out
    assert run("watch").code == 1


def test_troubles_are_told_once_and_passed(
    run: Run, backend: FakeBackend, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.jobs.watch.LONGEST", 0.001)
    backend.fail_next("events", *(UnreachableError("no \x1b[2Jroute") for _ in range(3)))
    result = run("watch", job.id)
    assert result.code == 0
    assert result.out.count("no answer, trying on: no route") == 1
    assert result.out.count("Z  back") == 1


def test_text_of_a_service_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    event = Event(id="e", created_at=0, message="\x1b[2Jevil\nline", level="warn")
    Plain().show(Tick(job, (event,)), Progress(job))
    assert capsys.readouterr().out.splitlines()[0] == "1970-01-01T00:00:00Z  warn: evil line"
    Json().show(Tick(job, (event,)), Progress(job))
    assert json.loads(capsys.readouterr().out)["message"] == "\x1b[2Jevil\nline"


def test_numbers_and_summary() -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    data = {"step": 2, "total_steps": 4, "train_loss": 1.5, "valid_loss": 2, "tokens_per_second": 9}
    events = [
        Event(id="a", created_at=10, message="", type="metrics", data={"step": 1}),
        Event(id="b", created_at=20, message="", type="metrics", data=data),
    ]
    progress = Progress(job).seen(job, events)
    assert numbers(progress, 60) == (
        "running  step 2/4  train loss 1.5000  valid loss 2.0000  9 tokens/s  est. 0 s left  "
        "no event for 40 s"
    )
    ended = job.model_copy(update={"status": "failed", "finished_at": 90})
    assert summary(Progress(ended)) == "j failed after 1 min 30 s: no step"
