"""`ftjobs migrate` and `ftjobs rescue`, from the command line to what lies in the folder."""

from __future__ import annotations

import json
import logging
from io import StringIO
from pathlib import Path

import pytest
from click import unstyle

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.cli.meter import meter
from ftjobs.client import Client
from ftjobs.errors import AuthError, InvalidRequestError, ServiceError
from ftjobs.jobs.jobfile import read_job
from ftjobs.schema import JobSpec
from tests.cli.conftest import TRAIN, Run

EVAL = str(Path(TRAIN).with_name("eval.jsonl"))


@pytest.fixture
def jobs(backend: FakeBackend) -> list[str]:
    """Two jobs, one of which has succeeded."""
    file = backend.upload(Path(TRAIN)).id
    spec = JobSpec(model="fake-base", training_file=file, suffix="\x1b[31mred")
    ended = backend.create(spec)
    while not ended.ended:
        ended = backend.retrieve(ended.id)
    return [ended.id, backend.create(spec).id]


def test_migrate_says_what_is_here_and_what_dies(run: Run, jobs: list[str]) -> None:
    result = run("migrate", "leaving")
    assert result.code == 0, result.err
    assert "unknown" in result.out
    assert jobs[0] in result.out
    assert "2 job(s) looked at, 2 file(s) fetched" in result.err
    assert "1 job(s) have not ended" in result.err
    assert "\x1b" not in result.out + result.err
    assert "0 file(s) fetched" in run("migrate", "leaving").err


def test_migrate_as_json(run: Run, jobs: list[str], tmp_path: Path) -> None:
    result = run("migrate", "leaving", "--json", "--only", "succeeded", "--model", "smollm2-135m")
    *found, model, done = result.rows
    assert [job["id"] for job in found] == jobs[:1]
    assert (model["object"], done["object"]) == ("migration.model", "migration")
    assert (done["complete"], done["fetched"], done["missing"]) == (True, 2, [])
    assert read_job(tmp_path / "leaving" / found[0]["folder"] / "job.toml").model == "smollm2-135m"
    events = (tmp_path / "leaving" / found[0]["files"]["events.jsonl"]["path"]).read_text()
    assert len(events.splitlines()) == len(run("jobs", "events", jobs[0], "--json").rows)


def test_migrate_ends_with_1_while_the_next_run_may_get_more(
    run: Run, backend: FakeBackend, jobs: list[str]
) -> None:
    backend.fail_next("content", ServiceError("fake: broken"))
    result = run("migrate", "leaving")
    assert result.code == 1
    assert "broken (the next run tries again)" in result.err
    assert run("migrate", "leaving").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["migrate"], 2, "Missing argument"),
        (["migrate", "x", "--job", "ftjob-none"], 1, "no job"),
        (["migrate", TRAIN], 2, "not a folder"),
        (["rescue", "fake-base", EVAL], 2, "Missing option"),
        (["rescue", "fake-base", "none.jsonl", "-o", "a"], 2, "no such file"),
        (["rescue", "fake-base", EVAL, "-o", EVAL], 2, "not a stored answer"),
        (["rescue", "fake-base", EVAL, "-o", "a", "--distill", "a"], 2, "cannot be both"),
        (["rescue", "fake-base", EVAL, "-o", "a", "--distill", TRAIN], 2, "not made of these"),
        (["rescue", "fake-base", EVAL, "-o", "a", "--n", "2"], 2, "temperature 0"),
        (["rescue", "fake-base", EVAL, "-o", "a", "--temperature", "9"], 2, "temperature"),
        (["rescue", "nobody", EVAL, "-o", "a"], 1, "no model"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, words: list[str], code: int, said: str) -> None:
    before = [Path(each).read_bytes() for each in (TRAIN, EVAL)]
    result = run(*words)
    assert (result.code, said in result.err) == (code, True), result.err
    assert "bug" not in result.err
    assert [Path(each).read_bytes() for each in (TRAIN, EVAL)] == before


def test_rescue_in_two_runs_and_a_training_file(run: Run, tmp_path: Path) -> None:
    first = run("rescue", "fake-base", EVAL, "-o", "answers.jsonl", "--limit", "4")
    assert first.code == 0
    assert "gives no shutdown date for fake-base" in first.err
    assert "holds 4 of 26 answers, 4 of them new" in first.err
    assert "22 prompts are left" in first.err
    words = ["rescue", "fake-base", EVAL, "-o", "answers.jsonl", "--distill", "train.jsonl"]
    second = run(*words, "--json")
    assert second.rows[0]["distilled"] == {"rows": 26, "left_out": {}}
    assert (second.rows[0]["fresh"], second.rows[0]["stored"]) == (22, 26)
    assert run(*words).code == 0
    assert run("data", "check", "train.jsonl").code == 0
    last = json.loads((tmp_path / "answers.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["answer"] == "I do not know."


def test_rescue_with_a_system_message_asks_other_prompts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"messages": [{"role": "user", "content": "q"}]}\n')
    for words in ([], ["--system", "Be brief."]):
        result = run("rescue", "fake-base", "p.jsonl", "-o", "a.jsonl", "--json", *words)
        assert result.rows[0]["fresh"] == 1
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [len(row["messages"]) for row in rows] == [1, 2]
    assert rows[1]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_rescue_names_the_prompts_without_an_answer(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("models", AuthError("fake: may not list", status=403))
    backend.fail_next("complete", InvalidRequestError("fake: too long"))
    result = run("rescue", "fake-base", EVAL, "-o", "a.jsonl")
    assert result.code == 1
    assert "cannot be looked up: fake: may not list" in result.err
    assert "no answer: line " in result.err
    assert "too long" in result.err
    assert "holds 25 of 26 answers" in result.err


def test_ctrl_c_keeps_what_came(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def interrupted(model: str, messages: object) -> str:
        if (tmp_path / "a.jsonl").stat().st_size > 2_000:
            raise KeyboardInterrupt
        return "yes"

    words = ("rescue", "fake-base", EVAL, "-o", str(tmp_path / "a.jsonl"))
    code = main(words, connect=lambda settings: Client(FakeBackend(answers=interrupted)))
    assert code == 130
    assert "run the same command again to go on" in capsys.readouterr().err
    assert 2 <= len((tmp_path / "a.jsonl").read_text("utf-8").splitlines()) < 26


def test_a_log_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    with meter("Asking", now=lambda: clock[0]) as move:
        for seconds, done in ((1.0, 100), (11.0, 150), (12.0, 160), (21.0, 200)):
            clock[0] = seconds
            move(done, 400, f"{done} tokens")
    assert capsys.readouterr().err.splitlines() == [
        "Asking: 150 of 400, 150 tokens, about 50 s left",
        "Asking: 200 of 400, 200 tokens, about 40 s left",
    ]


class Screen(StringIO):
    def isatty(self) -> bool:
        return True


def screen_of(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    return screen


def test_what_an_earlier_run_did_says_nothing_of_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    clock = [0.0]
    with meter("Asking", now=lambda: clock[0]) as move:
        move(900, 1000, "$0.10")
        clock[0] = 10.0
        move(910, 1000, "$0.11")
    assert "910/1000  $0.11, about 1 min 30 s left" in screen.getvalue()
    assert max(map(len, unstyle(screen.getvalue()).splitlines())) < 70


def test_a_warning_stands_above_the_bar_and_steers_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = screen_of(monkeypatch)
    with meter("Asking") as move:
        move(1, 9, "")
        logging.getLogger("ftjobs").warning("a service says \x1b[31mred; going on in 100 s")
    _, warning, again = screen.getvalue().split("\x1b[K", 1)[1].partition("going on in 100 s\n")
    assert "red" in screen.getvalue()
    assert "\x1b[31m" not in screen.getvalue()
    assert warning
    assert "1/9" in again
