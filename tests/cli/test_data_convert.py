"""`ftjobs data convert`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import DATASETS, Run

TABLE = str(DATASETS / "one-fact/train.csv")


def write(tmp_path: Path, text: str, name: str = "x.csv") -> str:
    (tmp_path / name).write_text(text, "utf-8")
    return str(tmp_path / name)


def test_the_report_is_for_people(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path, "prompt,completion,id\na,b,1\nc,,2\nd,,3\ne,f\n")
    result = run("data", "convert", source, "-o", "out.jsonl")
    assert (result.code, result.out) == (0, "")
    assert result.err.splitlines() == [
        f'{source}: CSV separated by commas, utf-8: prompt from "prompt", answer from "completion"',
        "1 example from 4 rows written to out.jsonl",
        "  dropped 2: empty answer: lines 3, 4",
        "  dropped 1: too few cells: line 5 (2 cells, the header has 3)",
        "  not used: id",
        "Check it: ftjobs data check out.jsonl",
    ]
    assert run("data", "check", "out.jsonl").code == 0


def test_the_report_as_json(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path, "prompt,completion\na,b\nc,\n")
    result = run("data", "convert", source, "-o", "out.jsonl", "--json")
    (row,) = result.rows
    assert (row["object"], row["ok"], row["read"], row["written"]) == ("conversion", True, 2, 1)
    places = [{"number": 3, "detail": ""}]
    assert row["dropped"] == [{"reason": "empty answer", "count": 1, "places": places}]
    assert "preview" not in row


def test_to_standard_output(run: Run) -> None:
    result = run("data", "convert", TABLE, "-o", "-")
    assert (result.code, len(result.rows)) == (0, 11)
    assert result.rows == [
        json.loads(line)
        for line in (DATASETS / "one-fact/train.jsonl").read_text("utf-8").splitlines()
    ]
    assert "11 examples from 11 rows written to -" in result.err
    assert "Check it" not in result.err


def test_from_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "ftjobs", "data", "convert", "-", "-o", str(out)]
    done = subprocess.run(command, input=b"question;answer\na;b\n", capture_output=True, check=True)
    assert json.loads(out.read_bytes())["messages"][1]["content"] == "b"
    assert b"semicolons" in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    source = write(tmp_path, "prompt,completion\n" + f"a,{'b' * 1000}\n" * 3000)
    line = f"{sys.executable} -m ftjobs data convert {source} -o - | head -n 1"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert "rror" not in done.stderr


def test_a_preview_writes_nothing(run: Run, tmp_path: Path) -> None:
    key = "sk-proj-" + "Ab3dEf7hIj1kLm5n" * 3
    source = write(tmp_path, f'prompt,completion\nmy key,"{key}\x1b[2J\r\nline 2"\nc,d\ne,\nf,g\n')
    before = set(tmp_path.rglob("*"))
    result = run("data", "convert", source, "--preview", "2")
    assert result.code == 0
    assert "--- example 2\nuser: c\nassistant: d\n" in result.out
    assert "line 2" in result.out
    assert "--- example 3" not in result.out
    assert key not in result.out
    assert "\x1b" not in result.out
    assert "3 examples from 4 rows would be written" in result.err
    assert "dropped 1: empty answer: line 5" in result.err
    assert set(tmp_path.rglob("*")) == before


def test_a_preview_as_json_is_redacted_too(run: Run, tmp_path: Path) -> None:
    key = "sk-proj-" + "Ab3dEf7hIj1kLm5n" * 3
    source = write(tmp_path, f"prompt,completion\na,{key}\n")
    result = run("data", "convert", source, "--preview", "1", "--json")
    example, conversion = result.rows
    assert (example["object"], conversion["object"]) == ("example", "conversion")
    assert example["messages"][0] == {"role": "user", "content": "a"}
    assert key not in result.out


def test_a_preview_of_tools_and_preferences(run: Run, tmp_path: Path) -> None:
    call = {"from": "function_call", "value": '{"name": "find", "arguments": {"x": 1}}'}
    talk = [{"from": "human", "value": "q"}, call]
    talk += [{"from": "tool", "value": "7"}, {"from": "gpt", "value": "x" * 3000}]
    tools = [{"name": "find", "parameters": {}}]
    row = json.dumps({"conversations": talk, "tools": tools})
    result = run("data", "convert", write(tmp_path, row, "x.json"), "--preview", "9")
    assert 'assistant: find({"x": 1})\ntool: 7\n' in result.out
    assert "… (1,000 more characters)\ntools: find\n" in result.out
    user = {"role": "user", "content": "q"}
    outputs = {
        f"{word}preferred_output": [{"role": "assistant", "content": f"{word}yes"}]
        for word in ("", "non_")
    }
    row = json.dumps({"input": {"messages": [user]}, **outputs})
    result = run("data", "convert", write(tmp_path, row, "x.json"), "--preview", "9")
    assert "user: q\npreferred_output: assistant: yes\n" in result.out


def test_columns_and_a_system_message(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path, "Frage,Antwort\na,b\n")
    options = ("--prompt", "Frage", "--completion", "Antwort", "--system", "Kurz.")
    result = run("data", "convert", source, "-o", "-", *options)
    assert [one["content"] for one in result.rows[0]["messages"]] == ["Kurz.", "a", "b"]


def test_nothing_that_fits(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path, "prompt,completion\na,\n")
    result = run("data", "convert", source, "-o", "out.jsonl")
    assert result.code == 3
    assert "nothing to write: of 1 row none becomes an example" in result.err
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TABLE,), "nowhere to write to"),
        ((TABLE, "-o", "x", "--preview", "1"), "a preview writes nothing"),
        ((TABLE, "-o", "-", "--json"), "both go to standard output"),
        (("gone.csv", "-o", "x"), "gone.csv: no such file"),
        ((TABLE, "-o", "x", "--from", "yaml"), "'yaml' is not one of"),
        ((TABLE, "-o", "x", "--encoding", "klingon"), "unknown encoding"),
        ((TABLE, "-o", "x", "--prompt", "instruction"), "no column is named for the completion"),
        ((TABLE, "-o", TABLE), "is the source itself"),
        (("hf:nobody", "-o", "x"), "names no dataset"),
    ],
)
def test_usage_errors(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run("data", "convert", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_force(run: Run, tmp_path: Path) -> None:
    out = write(tmp_path, "mine", "out.jsonl")
    assert run("data", "convert", TABLE, "-o", out).code == 2
    assert run("data", "convert", TABLE, "-o", out, "--force").code == 0


def test_rows_that_a_fix_may_repair_are_counted(run: Run, tmp_path: Path) -> None:
    row = json.dumps({"messages": [{"role": r, "content": "x"} for r in ("user", "assistant")]})
    source = write(tmp_path, f"{row}\n{row[:-1]},}}\n{row[:-2]},]}}\n{row[:-9]}\n", "x.jsonl")
    result = run("data", "convert", source, "-o", "out.jsonl")
    hint = f"2 of these may be repaired first: ftjobs data check {source} --fix OUT"
    assert hint in result.err.splitlines()
    run("data", "check", source, "--fix", "fixed.jsonl")
    assert "3 examples from 4 rows" in run("data", "convert", "fixed.jsonl", "-o", "-").err


def test_a_table_is_not_sent_to_the_checker(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path, "prompt,completion\na,b\nc,\n")
    assert "repaired" not in run("data", "convert", source, "-o", "-").err
