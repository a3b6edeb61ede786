"""From a table to a job: two commands, of which the first is named by the error."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ExitCode
from tests.cli.conftest import DATASETS, Run

MODEL = ("--model", "fake-base")


@pytest.mark.parametrize(
    "name", ["one-fact/train.csv", "broken/alpaca.jsonl", "broken/sharegpt.jsonl"]
)
def test_the_error_names_the_commands_that_lead_to_a_job(
    run: Run, backend: FakeBackend, name: str
) -> None:
    source = Path(f"it's mine{Path(name).suffix}")
    shutil.copy(DATASETS / name, source)
    refused = run("submit", str(source), *MODEL)
    assert refused.code == ExitCode.DATASET
    assert not [*backend.files()]
    found = re.search(r"ftjobs (data convert .*)\nThen train on (.*)\n", refused.err)
    assert found is not None, refused.err
    assert run(*shlex.split(found[1])).code == 0
    assert run("submit", found[2], *MODEL).code == 0
    assert len([*backend.jobs()]) == 1


def test_a_table_is_the_same_job_whenever_it_is_converted(run: Run, backend: FakeBackend) -> None:
    for folder in ("first", "second"):
        Path(folder).mkdir()
        out = f"{folder}/train.jsonl"
        assert run("data", "convert", str(DATASETS / "one-fact/train.csv"), "-o", out).code == 0
        assert run("submit", out, *MODEL, "--preset", "h2o-tutorial").code == 0
    assert len([*backend.jobs()]) == 1
    assert len([*backend.files()]) == 1


def test_columns_of_h2o_llm_studio(run: Run) -> None:
    Path("t.csv").write_text(
        "id,parent_id,system,instruction,input,output\n1,,S,q1,more,a1\n2,1.0,,q2,,a2\n"
    )
    assert run("data", "convert", "t.csv", "-o", "t.jsonl").code == 0
    (row,) = map(json.loads, Path("t.jsonl").read_text().splitlines())
    assert [m["content"] for m in row["messages"]] == ["S", "q1\n\nmore", "a1", "q2", "a2"]


def test_columns_by_other_names(run: Run) -> None:
    Path("t.csv").write_text("nr,before,who,F,G,H,A\n1,,S,q1,x,y,a1\n2,1,S,q2,,,a2\n")
    prompts = ("--prompt", "F", "--prompt", "G", "--prompt", "H", "--completion", "A")
    turns = ("--system-column", "who", "--id-column", "nr", "--parent-column", "before")
    assert run("data", "convert", "t.csv", "-o", "t.jsonl", *prompts, *turns).code == 0
    (row,) = map(json.loads, Path("t.jsonl").read_text().splitlines())
    assert [m["content"] for m in row["messages"]] == ["S", "q1\n\nx\n\ny", "a1", "q2", "a2"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--id-column", "id"), "no column is named for the prompt"),
        (("--prompt", "q", "--completion", "a", "--id-column", "q"), "need two columns"),
    ],
)
def test_columns_that_cannot_be_used(run: Run, words: tuple[str, ...], message: str) -> None:
    Path("t.csv").write_text("q,a\nx,y\n")
    result = run("data", "convert", "t.csv", "-o", "t.jsonl", *words)
    assert result.code == ExitCode.USAGE
    assert message in result.err
    assert not Path("t.jsonl").exists()
