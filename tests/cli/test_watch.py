import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli.app import App
from ftjobs.cli.ci import Reporter
from ftjobs.cli.display import (
    Json,
    Names,
    Plain,
    Quiet,
    choose,
    counts,
    display_for,
    numbers,
    summary,
    trouble,
)
from ftjobs.cli.watch import Session, _cancelled
from ftjobs.client import Client
from ftjobs.config import Settings
from ftjobs.errors import (
    AuthError,
    FtjobsError,
    NotFoundError,
    RateLimitError,
    StoreError,
    UnreachableError,
)
from ftjobs.jobs.progress import Progress
from ftjobs.jobs.watch import Tick
from ftjobs.schema import IDENTITY, Event, Job
from tests.cli.conftest import TRAIN, Run
from tests.cli.terminal import PROGRAM
from tests.jobs import test_webhook as webhooks


@pytest.fixture(autouse=True)
def _any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ftjobs.jobs.fleet.RATE", 1e6)


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
    assert {row["fine_tuning_job_id"] for row in rows[:-1]} == {job.id}
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


def test_once_looks_once_and_says_by_its_code_whether_the_job_still_runs(
    run: Run, backend: FakeBackend, job: Job
) -> None:
    result = run("watch", job.id, "--once")
    assert (result.code, result.err) == (8, "")
    assert not backend.retrieve(job.id).ended
    while not backend.retrieve(job.id).ended:
        pass
    result = run("watch", job.id, "--once")
    assert result.code == 0
    assert "step 2/2, train loss 1.2800" in result.out
    backend.fail_next("retrieve", AuthError("no"))
    assert run("watch", job.id, "--once").code == 4


def test_one_look_that_gets_no_answer_is_an_error(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.fail_next("events", UnreachableError("no route"))
    result = run("watch", job.id, "--once")
    assert result.code == 1
    assert "error: no route" in result.err


def test_once_shows_how_far_a_running_job_is(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.retrieve(job.id)
    assert "status running  step 1/2  train loss 1.6000" in run("watch", job.id, "--once").out


def test_without_an_id_it_is_the_newest_that_runs(run: Run, backend: FakeBackend) -> None:
    client = Client(backend)
    first, second, third = (
        client.submit(TRAIN, model="fake-base", suffix=suffix) for suffix in "abc"
    )
    backend.cancel(third.id)
    assert second.id in run("watch").out
    assert first.id in run("watch").out
    assert run("watch").code == 1


def test_troubles_are_told_once_and_passed(
    run: Run, backend: FakeBackend, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.jobs.watch.LONGEST", 0.1)
    monkeypatch.setattr("ftjobs.jobs.watch.SHORTEST", 0.1)
    backend.fail_next("events", UnreachableError("a blip"), UnreachableError("another"))
    assert "no answer" not in run("watch", job.id, "--timeout", "0.3").out
    monkeypatch.setattr("ftjobs.cli.display.LASTING", 0.05)
    backend.fail_next("events", *(UnreachableError("no \x1b[2Jroute") for _ in range(4)))
    result = run("watch", job.id)
    assert result.code == 0
    assert result.out.count("no answer, trying on: no route") == 1
    assert result.out.count("Z  back") == 1


def test_a_job_that_is_gone_is_told_at_once(
    capsys: pytest.CaptureFixture[str], backend: FakeBackend, job: Job
) -> None:
    Plain(names=Names()).show(Tick(job, problem=NotFoundError("no job x")), Progress(job))
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.endswith("gone: no job x")


def test_text_of_a_service_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    event = Event(id="e", created_at=0, message="\x1b[2Jevil\nline", level="warn")
    Plain().show(Tick(job, (event,)), Progress(job))
    assert capsys.readouterr().out.splitlines()[0] == "1970-01-01T00:00:00Z  warn: evil line"
    Plain(names=Names()).show(Tick(job, (event,)), Progress(job))
    assert capsys.readouterr().out.splitlines()[0].endswith("Z  j         warn: evil line")
    Json().show(Tick(job, (event,)), Progress(job))
    assert json.loads(capsys.readouterr().out)["message"] == "\x1b[2Jevil\nline"


def test_nothing_is_repeated_of_a_job_that_only_waits_for_its_last_events(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = Job(id="j", created_at=1, status="succeeded", model="m", training_file="f", finished_at=9)
    display = Plain(every=0)
    for _ in range(3):
        display.show(Tick(job), Progress(job))
    display.show(Tick(job, last=True), Progress(job))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1] for line in lines] == [
        "status succeeded",
        "j succeeded after 8 s: no step",
    ]


def test_numbers_and_summary() -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    data = {"step": 2, "total_steps": 4, "train_loss": 1.5, "valid_loss": 2, "tokens_per_second": 9}
    events = [
        Event(id="a", created_at=10, message="", type="metrics", data={"step": 1}),
        Event(id="b", created_at=20, message="", type="metrics", data=data),
    ]
    progress = Progress(job).seen(job, events)
    assert numbers(progress, 60) == (
        "running  step 2/4  train loss 1.5000  valid loss 2.0000  9 tokens/s  no event for 40 s"
    )
    ended = job.model_copy(update={"status": "failed", "finished_at": 90})
    assert summary(Progress(ended)) == "j failed after 1 min 30 s: no step"


# --- many jobs -----------------------------------------------------------------------------------


@pytest.fixture
def three(backend: FakeBackend) -> list[Job]:
    client = Client(backend)
    return [
        client.submit(TRAIN, model="fake-base", suffix=suffix, metadata={"sweep": "7"})
        for suffix in "abc"
    ]


def test_many_jobs_in_plain_lines(run: Run, three: list[Job]) -> None:
    result = run("watch", *(job.id for job in three), "--every", "0")
    assert result.code == 0
    for job in three:
        name = job.id.removeprefix("ftjob-")
        lines = [line for line in result.out.splitlines() if line[22:30] == name]
        assert sum("Fine-tuning job started" in line for line in lines) == 1
        assert sum(f"{job.id} succeeded after" in line for line in lines) == 1
    assert "\x1b" not in result.out


def test_many_jobs_as_json(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    rows = run("watch", "--metadata", "sweep=7", "--json").rows
    events = [row for row in rows if row["object"] == "fine_tuning.job.event"]
    expected = [(event.id, job.id) for job in three for event in backend.events(job.id)]
    assert sorted((e["id"], e["fine_tuning_job_id"]) for e in events) == sorted(expected)
    ended = {row["id"]: row["status"] for row in rows if row["object"] == "fine_tuning.job"}
    assert ended == {job.id: "succeeded" for job in three}


def test_one_of_many_that_failed_is_5(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    backend.cancel(three[1].id)
    result = run("watch", *(job.id for job in three))
    assert result.code == 5
    assert f"1 of 3 jobs did not succeed: {three[1].id} cancelled" in result.err


def test_many_jobs_once(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    result = run("watch", "--metadata", "sweep=7", "--once")
    assert (result.code, result.err) == (8, "")
    assert result.out.count("status ") == 3
    backend.cancel(three[0].id)
    assert run("watch", "--metadata", "sweep=7", "--once").code == 5


def test_one_look_at_many_that_misses_some_events_is_an_error(
    run: Run, backend: FakeBackend, three: list[Job]
) -> None:
    backend.fail_next("events", UnreachableError("no route"))
    result = run("watch", *(job.id for job in three), "--once")
    assert (result.code, result.err) == (1, "error: no route\n")


@pytest.mark.parametrize("error", [StoreError("disk I/O error"), AuthError("key revoked")])
def test_what_ends_the_watch_and_not_the_job_is_told_apart(
    error: FtjobsError, run: Run, backend: FakeBackend, job: Job
) -> None:
    backend.fail_next("events", error)
    result = run("watch", job.id)
    said, again, last = result.err.splitlines()
    assert said == f"Stopped watching; job {job.id} goes on. Watch again:"
    assert again == f"  ftjobs watch {job.id}"
    assert last.startswith(f"error: {error.message}")
    assert result.code == error.exit_code


def test_many_jobs_that_still_run_are_8(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    backend.pause(three[0].id)
    backend.pause(three[1].id)
    result = run("watch", *(job.id for job in three), "--timeout", "0.3")
    assert result.code == 8
    assert "2 jobs still run after 0.3 s" in result.err
    elsewhere = run("--backend", "local", "watch", three[0].id, "--timeout", "0")
    assert elsewhere.err.endswith(f"Look again: ftjobs --backend local watch {three[0].id}\n")


def test_jobs_and_metadata_exclude_each_other(run: Run, job: Job) -> None:
    assert run("watch", job.id, "--metadata", "a=b").code == 2
    assert run("watch", "--metadata", "a=b").code == 1


def test_the_same_job_twice_is_one(run: Run, job: Job) -> None:
    assert "fake0001  " not in run("watch", job.id, "latest").out


def test_a_job_is_found_by_its_identity(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    identity = three[1].metadata[IDENTITY]
    for word in (identity, identity[:8]):
        assert three[1].id in run("jobs", "show", word).out
    missing = run("watch", "0" * 32, "--once")
    assert missing.code == 1
    assert "no job" in missing.err
    backend.cancel(three[1].id)
    again = Client(backend).submit(TRAIN, model="fake-base", suffix="b")
    assert again.id != three[1].id
    assert again.id in run("jobs", "show", identity).out


def test_an_identity_must_be_one(run: Run, backend: FakeBackend, three: list[Job]) -> None:
    for job, end in zip(three, "01", strict=False):
        meta = {**job.metadata, IDENTITY: "f" * 31 + end}
        backend._runs[job.id].set(metadata=meta)
    result = run("jobs", "show", "f" * 31)
    assert result.code == 2
    assert "begins 2 identities" in result.err


def test_a_job_may_take_a_while_to_appear(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.capabilities = backend.capabilities.model_copy(update={"list_lag": 5.0})
    backend.fail_next("retrieve", NotFoundError("none"))
    result = run("watch", job.id)
    assert result.code == 0
    assert f"No job {job.id} yet; a new one may take 5 s" in result.err


def test_the_name_of_a_very_long_id_costs_no_time(job: Job) -> None:
    names = Names()
    ids = ["x" * 2_000_000 + end for end in "ab"]
    given = [names.of(job.model_copy(update={"id": name})) for name in ids]
    assert len(given[0]) == 8
    assert all(len(name) <= 32 for name in given)


def test_short_names_stay_and_differ() -> None:
    names = Names()
    ids = ["ftjob-abcdefgh1", "ftjob-abcdefgh2", "ftjob-abcdefgh22", "x\x1b[2J-日本", "ft-", "j"]
    jobs = [Job(id=i, created_at=0, status="s", model="m", training_file="f") for i in ids]
    given = [names.of(job) for job in jobs]
    assert given == ["abcdefgh", "abcdefgh2", "abcdefgh22", "日本", "ft-", "j"]
    assert [names.of(job) for job in jobs] == given
    assert [names.place(job) for job in jobs] == list(range(6))


def test_counts_and_trouble() -> None:
    job = Job(id="j", created_at=0, status="running", model="m", training_file="f")
    odd = job.model_copy(update={"status": "\x1b[2Jodd"})
    assert counts([job, job, odd]) == "3 jobs: 2 running, 1 odd"
    limited = RateLimitError("slow down", retry_after=180)
    assert trouble(limited).endswith("slow down (the service asks to wait 3 min)")


# --- the end -------------------------------------------------------------------------------------


def test_a_command_is_told_of_each_job_that_ends(
    run: Run, three: list[Job], tmp_path: Path
) -> None:
    script = tmp_path / "tell.py"
    script.write_text(
        "import os, sys\n"
        "line = [os.environ['FTJOBS_' + name] for name in ('JOB_ID', 'STATUS', 'MODEL')]\n"
        "open(sys.argv[1], 'a').write(' '.join(line) + chr(10))\n"
    )
    told = tmp_path / "told"
    line = shlex.join([sys.executable, str(script), str(told)])
    result = run("watch", "--metadata", "sweep=7", "--notify", line)
    assert result.code == 0
    lines = sorted(told.read_text().splitlines())
    assert [line.split()[:2] for line in lines] == [[job.id, "succeeded"] for job in three]
    assert all(line.split()[2].startswith("ft:fake-base:") for line in lines)


def test_a_failing_notification_is_a_warning(run: Run, job: Job) -> None:
    result = run("watch", job.id, "--notify", f"{sys.executable} -c 'raise SystemExit(3)'")
    assert result.code == 0
    assert "warning: --notify: " in result.err
    assert "ended with 3" in result.err


def test_a_notification_that_cannot_be_is_refused_before_watching(run: Run, job: Job) -> None:
    for target in ("no-such-program", "'", "http://", ""):
        result = run("watch", job.id, "--once", "--notify", target)
        assert result.code == (2 if target else 8)


def test_a_webhook_ends_the_wait(
    run: Run, backend: FakeBackend, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTJOBS_WEBHOOK_SECRET", webhooks.SECRET)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def deliver() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.connect()
                break
            except OSError:
                time.sleep(0.02)
        time.sleep(0.3)  # the first look is over, and the next is 15 minutes away
        backend.cancel(job.id)
        body = json.dumps({"type": "fine_tuning.job.cancelled", "data": {"id": job.id}}).encode()
        connection.request("POST", "/webhook", body, webhooks.signed(body))
        connection.getresponse().read()
        connection.close()

    thread = threading.Thread(target=deliver)
    thread.start()
    result = run("watch", job.id, "--webhook", f"127.0.0.1:{port}")
    thread.join()
    assert result.code == 5
    assert f"Taking webhooks at http://127.0.0.1:{port}/webhook\n" in result.err
    assert "Fine-tuning job cancelled" in result.out
    assert webhooks.SECRET not in result.out + result.err


def test_a_webhook_that_others_can_reach_is_told_to_be_in_the_clear(
    run: Run, backend: FakeBackend, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTJOBS_WEBHOOK_SECRET", webhooks.SECRET)
    backend.cancel(job.id)
    result = run("watch", job.id, "--once", "--webhook", "0.0.0.0:0")
    assert "in plain HTTP: put TLS before it\n" in result.err


def test_a_webhook_needs_a_secret_that_can_be_one(
    run: Run, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = run("watch", job.id, "--webhook", "127.0.0.1:0")
    assert (missing.code, missing.err[:40]) == (4, "error: FTJOBS_WEBHOOK_SECRET is not set\n")
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", "whsec_%%%")
    wrong = run("watch", job.id, "--webhook", "127.0.0.1:0")
    assert wrong.code == 2
    assert "%%%" not in wrong.err
    monkeypatch.setenv("FTJOBS_WEBHOOK_SECRET", webhooks.SECRET)
    assert run("watch", job.id, "--webhook", "nowhere").code == 2


# --- being interrupted ---------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "FTJOBS_HOME": str(tmp_path / "home"),
            "CANCELLED": str(tmp_path / "cancelled"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, str(PROGRAM), "100000", *args]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True))
        assert started[-1].stdout is not None
        for line in started[-1].stdout:
            if "status running" in line:
                break
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., "subprocess.Popen[str]"]


def test_sigterm_says_how_to_come_back_and_leaves_the_job(program: Start, tmp_path: Path) -> None:
    process = program("--backend", "openai", "watch")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    assert "Stopped watching; job ftjob-fake0001 goes on. Watch again:" in said
    assert "  ftjobs --backend openai watch ftjob-fake0001" in said
    assert not (tmp_path / "cancelled").exists()


def test_ctrl_c_says_how_to_come_back_by_metadata(program: Start) -> None:
    process = program("watch", "--metadata", "team=a b")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "  ftjobs watch '--metadata=team=a b'" in said


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        (["succeeded"], "Stopped watching; the job has ended."),
        (["succeeded", "failed"], "Stopped watching; all jobs have ended."),
        (["succeeded", "running"], "job j1 goes on. Watch again:\n  ftjobs watch j1"),
        (["running", "queued"], "Stopped watching; 2 jobs go on. Watch again:"),
        ([], "Stopped watching. Watch again:\n  ftjobs watch --metadata=a=b"),
    ],
)
def test_what_is_said_goes_on_is_what_does(
    statuses: list[str], said: str, backend: FakeBackend, job: Job
) -> None:
    jobs = [
        job.model_copy(update={"id": f"j{number}", "status": status})
        for number, status in enumerate(statuses)
    ]
    app = App(lambda settings: Client(backend))
    pairs = None if jobs else {"a": "b"}
    assert said in Session(app, Quiet(), jobs, Reporter(app, jobs), pairs)._farewell()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_cancel_on_exit_cancels_and_says_so(
    program: Start, tmp_path: Path, number: signal.Signals
) -> None:
    process = program("watch", "--cancel-on-exit")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Job ftjob-fake0001 is cancelled." in said
    assert "goes on" not in said
    assert (tmp_path / "cancelled").exists()


def test_a_cancel_that_fails_is_told(backend: FakeBackend, job: Job) -> None:
    backend.fail_next("cancel", UnreachableError("no route"))
    assert _cancelled(Client(backend).cancel, job) == (
        f"Job {job.id} could not be cancelled and may go on: no route"
    )
