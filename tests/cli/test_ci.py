"""What pipelines get of commands: report files, summaries, outputs and annotations."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree  # type: ignore[import-untyped]

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.cli.show import clean_line
from ftjobs.client import Client
from ftjobs.schema import IDENTITY, Job, JobError
from tests import service
from tests.cli.conftest import TRAIN, Run
from tests.reports.test_ci import read_command, read_outputs

ALL = ("-o", "job.xml", "-o", "job.md", "-o", "job.json")
SUBMIT = ("submit", TRAIN, "--model", "fake-base", "--suffix", "s")
PROGRAM = Path(__file__).with_name("program.py")


@dataclass(frozen=True)
class Runner:
    """The files of GitHub's runner."""

    summary_file: Path
    output_file: Path

    @property
    def summary(self) -> str:
        return self.summary_file.read_text("utf-8")

    @property
    def outputs(self) -> dict[str, str]:
        return read_outputs(self.output_file.read_text("utf-8"))


@pytest.fixture(autouse=True)
def _no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GITHUB_") or name == "TF_BUILD":
            monkeypatch.delenv(name)


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(tmp_path / "summary", tmp_path / "output")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(made.summary_file))
    monkeypatch.setenv("GITHUB_OUTPUT", str(made.output_file))
    made.summary_file.touch()
    made.output_file.touch()
    return made


@pytest.fixture
def job(backend: FakeBackend) -> Job:
    return Client(backend).submit(TRAIN, model="fake-base")


def commands(text: str) -> list[tuple[str, dict[str, str], str]]:
    return [read_command(line) for line in text.splitlines() if line.startswith("::")]


# --- files ---------------------------------------------------------------------------------------


def test_watch_writes_every_report(run: Run, job: Job) -> None:
    result = run("watch", job.id, *ALL)
    assert result.code == 0
    case = etree.parse("job.xml").find("testsuite/testcase")
    assert (case.get("name"), len(case)) == (job.id, 0)
    identity = job.metadata[IDENTITY]
    assert Path("job.md").read_text("utf-8").startswith(f"<!-- ftjobs job {identity} -->\n### ✅")
    [row] = json.loads(Path("job.json").read_text("utf-8"))["jobs"]
    assert (row["verdict"], row["step"], row["total_steps"]) == ("succeeded", 2, 2)
    assert [line for line in result.err.splitlines() if line.startswith("Written: ")] == [
        "Written: job.xml",
        "Written: job.md",
        "Written: job.json",
    ]


def test_submit_and_apply_report_the_new_job(run: Run) -> None:
    assert run(*SUBMIT, "-o", "job.json").code == 0
    [row] = json.loads(Path("job.json").read_text("utf-8"))["jobs"]
    assert row["verdict"] == "unfinished"
    run("plan", *SUBMIT[1:-1], "t", "-o", "plan.json")
    assert run("apply", "plan.json", "--watch", "-o", "job.json").code == 0
    [row] = json.loads(Path("job.json").read_text("utf-8"))["jobs"]
    assert row["verdict"] == "succeeded"
    assert row["identity"] == json.loads(Path("plan.json").read_text("utf-8"))["identity"]


def test_a_plan_as_a_comment_beside_the_plan(run: Run, runner: Runner) -> None:
    result = run("plan", *SUBMIT[1:], "-o", "plan.json", "-o", "plan.md")
    assert result.code == 0
    assert result.err.endswith("Carry it out: ftjobs apply plan.json\n")
    comment = Path("plan.md").read_text("utf-8")
    assert comment.startswith("<!-- ftjobs plan ")
    assert runner.summary == comment


def test_a_plan_that_costs_too_much_is_still_a_comment(run: Run) -> None:
    result = run("plan", *SUBMIT[1:], "--max-cost", "0.01", "-o", "plan.md")
    assert result.code == 9
    assert "`$0.01`" in Path("plan.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("report.html", "reports end in .xml, .md or .json"),
        ("nowhere/job.xml", "there is no such folder"),
        (".", "is a directory"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_there_is_a_job(
    run: Run, backend: FakeBackend, name: str, said: str
) -> None:
    result = run(*SUBMIT, "-o", name)
    assert result.code == 2
    assert said in result.err
    assert list(backend.jobs()) == []


def test_a_dry_run_has_no_job_to_report(run: Run) -> None:
    assert run(*SUBMIT, "--dry-run", "-o", "job.json").code == 2


def test_a_report_is_written_when_time_is_up(run: Run, backend: FakeBackend, job: Job) -> None:
    backend.pause(job.id)
    assert run("watch", job.id, "--timeout", "0.01", *ALL).code == 8
    skipped = etree.parse("job.xml").find("testsuite/testcase/skipped")
    assert skipped.get("message") == "still paused"


def test_a_full_disk_is_told_and_what_ended_the_watch_decides(
    run: Run, backend: FakeBackend, job: Job
) -> None:
    Path("full.json").symlink_to("/dev/full")
    backend.pause(job.id)
    late = run("watch", job.id, "--timeout", "0.01", "-o", "full.json")
    assert late.code == 8
    assert "full.json" in late.err
    backend.resume(job.id)
    assert run("watch", job.id, "-o", "full.json").code == 1


def test_several_jobs_in_one_report(run: Run, backend: FakeBackend) -> None:
    client = Client(backend)
    ids = [client.submit(TRAIN, model="fake-base", suffix=name).id for name in ("a", "b")]
    assert run("watch", *ids, *ALL).code == 0
    assert len(etree.parse("job.xml").findall("testsuite/testcase")) == 2


# --- GitHub --------------------------------------------------------------------------------------


def test_a_step_gets_summary_outputs_and_an_annotation(run: Run, runner: Runner, job: Job) -> None:
    result = run("watch", job.id)
    model = "ft:fake-base:fake::fake0001"
    assert runner.outputs == {
        "job-id": job.id,
        "status": "succeeded",
        "fine-tuned-model": model,
        "identity": job.metadata[IDENTITY],
    }
    assert f"| Fine-tuned model | `{model}` |" in runner.summary
    [(level, _, text)] = commands(result.err)
    assert level == "notice"
    assert model in text
    assert not commands(result.out)


def test_standard_output_stays_the_id(run: Run, runner: Runner) -> None:
    result = run(*SUBMIT)
    assert result.out == f"{runner.outputs['job-id']}\n"


def test_a_failure_is_explained_everywhere(
    runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    failing = FakeBackend(
        steps=2,
        fail_with=JobError(
            code="server_error", message="moderation eval refusals_v3 @team\n::stop-commands::x"
        ),
        fail_at=1,
    )
    code = main([*SUBMIT, "--watch", *ALL], connect=lambda settings: Client(failing))
    said = capsys.readouterr()
    assert code == 5
    assert runner.outputs["status"] == "failed"
    assert "the service asks the model harmful questions" in said.err
    [(level, _, text), *_] = commands(said.err)
    assert level == "error"
    assert "remove the rows that teach it to comply" in text
    assert not any(line.startswith("::stop-commands") for line in said.err.splitlines())
    assert "**What to do:**" in runner.summary
    [case] = etree.parse("job.xml").findall("testsuite/testcase")
    assert case[0].get("type") == "server_error"


def test_what_stands_in_the_runners_files_stays_whole(run: Run, runner: Runner, job: Job) -> None:
    runner.output_file.write_text("mine=1")
    runner.summary_file.write_text("Mine, without an end of line")
    run("watch", job.id)
    assert runner.outputs["mine"] == "1"
    assert runner.outputs["status"] == "succeeded"
    assert runner.summary.startswith("Mine, without an end of line\n### ✅")


@pytest.mark.parametrize("left", [0, 6, 50, 51, 700])
@pytest.mark.parametrize("command", [("watch", "latest"), ("plan", *SUBMIT[1:])])
def test_a_summary_leaves_room_for_nothing_above_the_limit(
    left: int, command: tuple[str, ...], run: Run, runner: Runner, job: Job
) -> None:
    runner.summary_file.write_bytes(b"x" * (2**20 - left))
    run(*command)
    assert runner.summary_file.stat().st_size <= 2**20


def test_a_runner_that_cannot_be_told_stops_nothing(
    run: Run, runner: Runner, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", "/nowhere/output")
    result = run("watch", job.id)
    assert result.code == 0
    assert "/nowhere/output cannot be written" in result.err
    assert "### ✅" in runner.summary


def test_elsewhere_the_runners_variables_mean_nothing(
    run: Run, runner: Runner, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::" not in run("watch", job.id).err
    assert runner.summary == ""
    assert runner.outputs == {}


def test_quiet_is_quiet(
    run: Run, runner: Runner, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTJOBS_DISPLAY", "quiet")
    assert run("watch", job.id).err == ""
    assert runner.outputs["status"] == "succeeded"


@pytest.mark.parametrize(
    "command", ["::add-mask::a", " ::stop-commands::x", "##[error]x", "a ##vso[b]c"]
)
def test_no_words_of_a_service_command_the_log(command: str) -> None:
    """GitHub's runner takes `::` at the start of a line, and `##[` anywhere; Azure's `##vso[`."""
    assert obeyed(command)
    assert not obeyed(clean_line(command))


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_watched_jobs_words_command_no_log(
    how: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "::add-mask::a ##[error]b ##vso[task.complete]c"
    failing = FakeBackend(steps=1, fail_with=JobError(code=evil, message=evil), fail_at=1)
    main([*SUBMIT, "--watch", *how], connect=lambda settings: Client(failing))
    printed = capsys.readouterr()
    lines = [*printed.out.splitlines(), *printed.err.splitlines()]
    assert any("add-mask" in line for line in lines)
    assert [line for line in lines if obeyed(line)] == []
    if how:
        assert any(evil == json.loads(line).get("message") for line in printed.out.splitlines())


@pytest.mark.parametrize("how", [(), ("--n", "2"), ("--json",)])
@pytest.mark.parametrize(("variable", "value"), [("GITHUB_ACTIONS", "true"), ("TF_BUILD", "True")])
def test_no_answer_of_a_model_commands_the_log(
    variable: str,
    value: str,
    how: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answering = FakeBackend(answers={"q": "a::b\n::add-mask::b\r\n ::error::c ##vso[d]\ne"})

    def lines() -> list[str]:
        main(["chat", "fake-base", "q", *how], connect=lambda _: Client(answering))
        return capsys.readouterr().out.splitlines()

    as_it_is = lines()
    monkeypatch.setenv(variable, value)
    harmless = lines()
    assert not any(map(obeyed, harmless))
    assert len(harmless) == len(as_it_is)
    assert "a::b" in harmless[0]
    assert how == ("--json",) or any(map(obeyed, as_it_is))


def test_no_word_in_a_table_commands_the_log(run: Run, backend: FakeBackend, job: Job) -> None:
    backend._runs[job.id].set(id="::add-mask::a", model="##[error]b")
    lines = run("jobs", "list").out.splitlines()
    assert "add-mask" in lines[1]
    assert not any(map(obeyed, lines))


def obeyed(line: str) -> bool:
    return line.lstrip().startswith("::") or "##[" in line or "##vso[" in line


def test_no_key_is_in_any_of_it(runner: Runner, tmp_path: Path) -> None:
    """Nor in what is printed: not where a service quotes it in an answer."""
    failing = FakeBackend(steps=2, fail_with=JobError(code="server_error", message="it broke"))
    with service.running(failing) as there:
        job = Client(failing).submit(TRAIN, model="fake-base")
        there.tick()
        there.tick()
        there.tick()
        first = program(there.url, service.KEY, "watch", job.id, "--once", *ALL)
        second = program(there.url, f"{service.KEY}-wrong", "watch", job.id)
    assert (first.returncode, second.returncode) == (5, 4)
    assert "Incorrect API key provided: [key]" in second.stderr
    written = [path.read_text("utf-8") for path in tmp_path.iterdir() if path.is_file()]
    assert len(written) == 5
    printed = [text for done in (first, second) for text in (done.stdout, done.stderr)]
    assert service.KEY not in "".join([*written, *printed])


def program(url: str, key: str, *args: str) -> subprocess.CompletedProcess[str]:
    """`ftjobs` as a process of its own, at a service that wants this key."""
    return subprocess.run(
        [sys.executable, "-m", "ftjobs", "--backend", url, *args],
        env={**os.environ, "FTJOBS_API_KEY": key},
        capture_output=True,
        text=True,
        check=False,
    )


def test_sigterm_ends_the_watch_not_the_job_and_the_next_step_knows_it(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that is stopped: SIGTERM, to a real process."""
    cancelled = tmp_path / "cancelled"
    environ = {**os.environ, "CANCELLED": str(cancelled), "PYTHONPATH": str(PROGRAM.parents[2])}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), "1000", "watch", "latest", "-o", str(tmp_path / "job.json")],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "Fine-tuning job started" not in (line := process.stdout.readline()):
        assert line, process.communicate()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    assert "goes on" in err
    assert not cancelled.exists()
    assert runner.outputs["job-id"] == "ftjob-fake0001"
