"""`ftjobs compare`: words, files, reports, verdicts and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.evals.result import Comparison
from ftjobs.schema import ChatMessage, JobSpec
from tests.cli.conftest import TRAIN, Run

MODELS = ("fake-base", "half", "fake-judge")
ROWS = 40


def say(model: str, messages: Sequence[ChatMessage]) -> str:
    """Tuned models know every answer, `half` every other, the base none; the judge likes `A`."""
    question = str(messages[-1].content)
    if model == "fake-judge":
        return 'The first one. {"winner": "A"}'
    if model.startswith("ft:"):
        return question.upper()
    return question.upper() if model == "half" and int(question[1:]) % 2 else "no \x1b[31midea"


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(steps=4, models=MODELS, answers=say)


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str = "prompts.jsonl", count: int = ROWS, **more: Any) -> str:
        rows = [
            {"messages": [{"role": "user", "content": f"q{i}"}], "expected": f"Q{i}", **more}
            for i in range(count)
        ]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return str(tmp_path / name)

    return write


@pytest.fixture
def tuned(backend: FakeBackend) -> str:
    """The model of a job that has succeeded, the latest one."""
    file = backend.upload(Path(TRAIN))
    job = backend.create(JobSpec(model="fake-base", training_file=file.id))
    while not job.ended:
        job = backend.retrieve(job.id)
    return str(job.fine_tuned_model)


def test_a_candidate_that_is_better_passes(run: Run, write: Write, tuned: str) -> None:
    done = run("compare", write(), "--base", "fake-base", "--tuned", tuned)
    assert done.code == 0
    assert done.out.startswith("PASS  Tuned beats base by 100.0 points")
    assert "40 rows detect a difference" in done.err
    assert "Answers wanted: 80" in done.err
    assert "\x1b" not in done.out


def test_a_candidate_that_is_worse_fails(run: Run, write: Write) -> None:
    done = run("compare", write(), "--base", "half", "--tuned", "fake-base")
    assert done.code == 6
    assert done.out.startswith("FAIL")


def test_prompts_without_answers_are_refused_before_anything_is_spent(
    run: Run, tmp_path: Path
) -> None:
    """Such as a table whose column is called something else."""
    (tmp_path / "p.csv").write_text("question,gold\nq1,Q1\n", "utf-8")
    done = run("compare", str(tmp_path / "p.csv"), "--base", "fake-base", "--tuned", "half")
    assert done.code == 2
    assert "no prompt says which answer is expected" in done.err
    assert "--judge MODEL" in done.err
    assert "Answers wanted" not in done.err


def test_too_little_evidence_has_a_code_of_its_own(run: Run, write: Write) -> None:
    done = run("compare", write(count=3), "--base", "fake-base", "--tuned", "half")
    assert done.code == 7
    assert done.out.startswith("INCONCLUSIVE")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--gate", "none"), 0),
        (("--gate", "non-inferior"), 6),
        (("--gate", "non-inferior", "--margin", "0.9"), 0),
        (("--margin", "0.9"), 6),
    ],
)
def test_the_gate_is_the_users(run: Run, write: Write, words: tuple[str, ...], code: int) -> None:
    assert run("compare", write(), "--base", "half", "--tuned", "fake-base", *words).code == code


def test_rows_that_nobody_can_grade_pass_no_gate(run: Run, tmp_path: Path) -> None:
    bare = json.dumps({"messages": [{"role": "user", "content": "q1"}]})
    (tmp_path / "bare.jsonl").write_text(bare + "\n", "utf-8")
    words = ("compare", "bare.jsonl", "--base", "fake-base", "--tuned", "half")
    assert run(*words, "--grader", "exact").code == 2  # before anything is asked
    assert run(*words, "--grader", "perplexity").code == 7
    done = run(*words, "--gate", "none")
    assert done.code == 0
    assert "Q1" in done.out


@pytest.mark.parametrize("word", ["latest", "job"])
def test_a_job_stands_for_its_model(
    run: Run, write: Write, tuned: str, backend: FakeBackend, word: str
) -> None:
    name = next(iter(backend.jobs())).id if word == "job" else word
    done = run("compare", write(), "--base", "fake-base", "--tuned", name, "--json")
    assert done.rows[-1]["arms"][1]["model"] == tuned
    assert done.code == 0


def test_a_job_without_a_model_is_an_error(run: Run, write: Write, backend: FakeBackend) -> None:
    file = backend.upload(Path(TRAIN))
    job = backend.create(JobSpec(model="fake-base", training_file=file.id))
    done = run("compare", write(), "--base", "fake-base", "--tuned", job.id)
    assert done.code == 5
    assert "has no tuned model" in done.err


def test_a_job_file_says_it_all(run: Run, write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "job.toml").write_text(
        f'model = "fake-base"\n[data]\ntrain = "{TRAIN}"\n'
        '[evaluation]\nprompts = "prompts.jsonl"\ngraders = ["exact"]\n'
        '[evaluation.gate]\nrule = "better"\nmargin = 0.5\n',
        "utf-8",
    )
    early = run("compare", "job.toml")
    assert early.code == 2
    assert "no job of this file was found" in early.err
    assert run("submit", "job.toml", "--watch").code == 0
    done = run("compare", "job.toml", "--json")
    assert done.code == 0
    assert done.rows[-1]["verdict"]["gate"] == {"rule": "better", "margin": 0.5, "grader": "exact"}
    assert run("compare", "job.toml", "--gate", "none", "--tuned", "half").code == 0


@pytest.mark.parametrize("table", ["arms.rival", "judge"])
def test_a_backend_that_only_a_file_names_gets_no_key_of_the_user(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setenv("FTJOBS_API_KEY", "the-users-own")
    write()
    (tmp_path / "compare.toml").write_text(
        '[evaluation]\nbase = "fake-base"\ntuned = "half"\nprompts = "prompts.jsonl"\n'
        f'[evaluation.{table}]\nmodel = "m"\nbackend = "https://evil.example/v1"\n',
        "utf-8",
    )
    done = run("compare", "compare.toml")
    assert done.code == 4
    assert "FTJOBS_KEY_EVIL_EXAMPLE" in done.err


def test_a_file_of_its_own_with_many_arms(run: Run, write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/facts.md").write_text("q1 is Q1.\n\nq2 is Q2.\n", "utf-8")
    (tmp_path / "compare.toml").write_text(
        '[evaluation]\nbase = "fake-base"\ntuned = "half"\nprompts = "prompts.jsonl"\n'
        'graders = ["exact"]\n[evaluation.arms.rag]\ndocuments = "docs"\n'
        '[evaluation.arms.brief]\nsystem = "Be brief."\nmax_tokens = 1\n',
        "utf-8",
    )
    done = run("compare", "compare.toml", "--json")
    arms = {arm["name"]: arm for arm in done.rows[-1]["arms"]}
    assert [*arms] == ["base", "tuned", "rag", "brief"]
    assert "BM25" in arms["rag"]["traits"][0]
    assert arms["brief"]["sampling"]["max_tokens"] == 1
    assert done.rows[-1]["contrasts"][0]["difference"] == pytest.approx(0.5)


def test_stored_answers_and_sets(run: Run, write: Write, tmp_path: Path, tuned: str) -> None:
    prompts = write()
    assert run("rescue", tuned, prompts, "-o", "old.jsonl").code == 0
    options = ("--arm", "old=old.jsonl", "--set", f"train={write('train.jsonl', 5)}")
    done = run("compare", prompts, "--base", "fake-base", "--tuned", "half", *options, "--json")
    last = done.rows[-1]
    assert [arm["backend"] for arm in last["arms"]] == ["fake", "fake", ""]
    assert {row["set"] for row in done.rows[:-1]} == {"", "train"}
    assert last["means"]["exact"]["old"] == 1.0


def test_checkpoints_are_arms(run: Run, write: Write, tuned: str) -> None:
    words = ("compare", write(), "--base", "fake-base", "--tuned", "latest")
    done = run(*words, "--checkpoints", "all", "--json")
    names = [arm["name"] for arm in done.rows[-1]["arms"]]
    assert names[:2] == ["base", "tuned"]
    assert all(name.startswith("step-") for name in names[2:])
    assert len(names) > 2
    assert any("equally good" in warning for warning in done.rows[-1]["warnings"])
    by_model = run(*words[:-1], tuned, "--checkpoints", names[2].removeprefix("step-"), "--json")
    assert [arm["name"] for arm in by_model.rows[-1]["arms"]] == names[:3]
    assert "There are:" in run(*words, "--checkpoints", "999").err
    assert run(*words, "--checkpoints", "soon").code == 2


def test_a_judge_is_asked_in_both_orders(run: Run, write: Write, tuned: str) -> None:
    words = ("compare", write(count=20), "--base", "fake-base", "--tuned", tuned)
    done = run(*words, "--judge", "fake-judge", "--grader", "pairwise", "--json")
    last = done.rows[-1]
    assert done.code == 7
    assert last["contrasts"][0]["conflicts"] == 20
    assert last["graders"][0]["asked"] == 40
    assert any(bias["kind"] == "position" and bias["warning"] for bias in last["biases"])


def test_reports_are_written(run: Run, write: Write, tuned: str, tmp_path: Path) -> None:
    outputs = [word for name in ("r.html", "r.md", "r.xml", "r.json") for word in ("-o", name)]
    assert run("compare", write(), "--base", "fake-base", "--tuned", tuned, *outputs).code == 0
    read = Comparison.model_validate_json((tmp_path / "r.json").read_text("utf-8"))
    assert read.verdict is not None
    assert (tmp_path / "r.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert "beats" in (tmp_path / "r.md").read_text("utf-8")
    assert "<testsuite" in (tmp_path / "r.xml").read_text("utf-8")
    assert "there are no votes yet" in run("vote", "r.json").err


def test_what_could_not_be_written_is_refused_first(
    run: Run, write: Write, backend: FakeBackend
) -> None:
    prompts = write()
    words = ("compare", prompts, "--base", "fake-base", "--tuned", "half", "-o")
    for name in ("r.pdf", "nowhere/r.html"):
        assert run(*words, name).code == 2
    Path("own.json").write_bytes(Path(prompts).read_bytes())
    assert run("compare", "own.json", *words[2:], "own.json").code == 2


def test_no_report_takes_the_place_of_what_is_read(run: Run, write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "docs").mkdir()
    read = ("rubric.md", "schema.json", "docs/facts.md")
    for name in read:
        (tmp_path / name).write_text("{}", "utf-8")
    (tmp_path / "compare.toml").write_text(
        '[evaluation]\nbase = "fake-base"\ntuned = "half"\nprompts = "prompts.jsonl"\n'
        'graders = ["json-schema:schema.json"]\n[evaluation.arms.rag]\ndocuments = "docs"\n'
        '[evaluation.judge]\nmodel = "fake-judge"\nrubric = "rubric.md"\n',
        "utf-8",
    )
    for name in read:
        done = run("compare", "compare.toml", "-o", name)
        assert done.code == 2
        assert "is what is read here" in done.err
        assert (tmp_path / name).read_text("utf-8") == "{}"
    words = ("compare", "prompts.jsonl", "--base", "fake-base", "--tuned", "half", "--judge")
    done = run(*words, "fake-judge", "--grader", "judge:rubric.md", "-o", "rubric.md")
    assert done.code == 2


def test_on_githubs_runner_the_step_is_told(
    run: Run, write: Write, tuned: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.setenv(name, str(tmp_path / name))
    done = run("compare", write(), "--base", "fake-base", "--tuned", tuned)
    assert "verdict" in (tmp_path / "GITHUB_OUTPUT").read_text("utf-8")
    assert "beats" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text("utf-8")
    assert "::notice" in done.err
    assert done.code == 0


def test_where_no_verdict_is_asked_for_no_report_calls_that_an_error(
    run: Run, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outputs = [word for name in ("r.html", "r.md", "r.xml") for word in ("-o", name)]
    words = ("compare", write(), "--base", "fake-base", "--tuned", "half", "--gate", "none")
    done = run(*words, *outputs)
    assert done.code == 0
    assert "::error" not in done.err
    texts = [(tmp_path / name).read_text("utf-8") for name in outputs[1::2]]
    for text in (done.out, *texts):
        assert "o row could be graded" not in text
        assert "<error" not in text


@pytest.mark.parametrize(("calls", "deciding"), [(1, "exact"), (3, "tool-calls")])
def test_what_is_expected_most_often_decides(
    run: Run, tmp_path: Path, calls: int, deciding: str
) -> None:
    called = {"calls": [{"name": "f", "arguments": {}}]}
    rows = [
        {"messages": [{"role": "user", "content": f"q{n}"}], **kind}
        for kind, count in ((called, calls), ({"expected": "Q1"}, 2))
        for n in range(count)
    ]
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    done = run("compare", "mixed.jsonl", "--base", "fake-base", "--tuned", "half", "--json")
    assert done.rows[-1]["verdict"]["grader"] == deciding


def test_a_second_run_says_that_it_asked_nobody(run: Run, write: Write) -> None:
    words = ("compare", write(count=8), "--base", "fake-base", "--tuned", "half")
    run(*words)
    assert "16 answers are from earlier runs" in run(*words).err
    assert "are from earlier runs" not in run(*words, "--fresh").err


def test_a_budget_needs_a_price_and_keeps_to_it(run: Run, write: Write, tmp_path: Path) -> None:
    write()
    (tmp_path / "compare.toml").write_text(
        '[evaluation]\nprompts = "prompts.jsonl"\ngraders = ["exact"]\nmax_cost = 0.001\n'
        '[evaluation.arms.base]\nmodel = "fake-base"\nprice = [1.0, 1.0]\n'
        '[evaluation.arms.tuned]\nmodel = "half"\nprice = [1.0, 1.0]\n',
        "utf-8",
    )
    done = run("compare", "compare.toml")
    assert done.code == 9
    assert "budget of $0.00" in done.err


WRONG = [
    ((), 2, "two arms"),
    (("--base", "fake-base"), 2, "two arms"),
    (("--base", "fake-base", "--tuned", "nowhere"), 1, "nowhere"),
    (("--base", "fake-base", "--tuned", "half", "--temperature", "9"), 2, "temperature"),
    (("--base", "fake-base", "--tuned", "half", "--grader", "nice"), 2, "nice"),
    (("--base", "fake-base", "--tuned", "half", "--grader", "pairwise"), 2, "judge"),
    (("--base", "fake-base", "--tuned", "half", "--arm", "x"), 2, "is no arm"),
    (("--base", "fake-base", "--tuned", "half", "--arm", "base=half"), 2, "base"),
    (("--base", "fake-base", "--tuned", "half", "--set", "x"), 2, "KEY=VALUE"),
    (("--base", "fake-base", "--tuned", "half", "--samples", "3"), 2, "temperature 0"),
    (("--base", "fake-base", "--tuned", "half", "--margin", "nan"), 2, "margin"),
]


@pytest.mark.parametrize(
    ("words", "code", "said"), WRONG, ids=[w[2] + str(i) for i, w in enumerate(WRONG)]
)
def test_what_is_wrong_is_said(
    run: Run, write: Write, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run("compare", write(), *words)
    assert done.code == code
    assert said in done.err
    assert "Traceback" not in done.err


def test_wrong_prompts_are_a_dataset_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n[]\n", "utf-8")
    done = run("compare", "bad.jsonl", "--base", "fake-base", "--tuned", "half")
    assert done.code == 3
    assert "bad.jsonl:1" in done.err
    assert "bad.jsonl:2" in done.err
