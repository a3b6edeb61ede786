"""`ftjobs data split` and `ftjobs data sample`, as a user types them."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import DATASETS, TRAIN, Run

KEY = "sk-proj-" + hashlib.sha256(b"not a key").hexdigest()[:48]
LINES = Path(TRAIN).read_bytes().splitlines(keepends=True)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A hundred rows, every fifth of which is urgent."""
    path = tmp_path / "mail.jsonl"
    answers = ["urgent" if row % 5 == 0 else KEY for row in range(100)]
    rows = [
        [{"role": "user", "content": f"Mail {row}"}, {"role": "assistant", "content": answer}]
        for row, answer in enumerate(answers)
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return path


def test_split_says_what_it_wrote(run: Run, labelled: Path, tmp_path: Path) -> None:
    result = run("data", "split", str(labelled), "--valid", "20", "--test", "10%")
    assert (result.code, result.err) == (
        0,
        "100 rows in 100 groups of one prompt; the largest group has 1.\n",
    )
    table = [line.split() for line in result.out.splitlines()]
    assert table[:4] == [
        ["FILE", "ROWS"],
        [str(tmp_path / "mail.train.jsonl"), "70"],
        [str(tmp_path / "mail.valid.jsonl"), "20"],
        [str(tmp_path / "mail.test.jsonl"), "10"],
    ]
    assert ["urgent", "14", "(20%)", "4", "(20%)", "2", "(20%)"] in table
    assert KEY not in result.out


def test_split_as_json(run: Run, tmp_path: Path) -> None:
    result = run("data", "split", TRAIN, "-o", "parts", "--near", "0.8", "--json")
    assert [(row["name"], row["rows"], row["wanted"]) for row in result.rows] == [
        ("train", 70, 70),
        ("valid", 8, 8),
    ]
    written = b"".join((tmp_path / row["path"]).read_bytes() for row in result.rows)
    assert sorted(written.splitlines(keepends=True)) == sorted(LINES)


def test_split_says_where_groups_were_too_large(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"".join(line * 3 for line in LINES))
    result = run("data", "split", str(path), "--valid", "10")
    assert "valid has 9 rows instead of 10: those with one prompt stay together." in result.err


def test_split_refuses(run: Run, labelled: Path) -> None:
    broken = run("data", "split", str(DATASETS / "broken/line-7.jsonl"))
    assert broken.code == 3
    assert ":7:" in broken.err
    for size in ("a lot", "1.5", "-1", "nan", "120%"):
        assert run("data", "split", str(labelled), "--valid", size).code == 2
    assert run("data", "split", str(labelled), "--near", "0.2").code == 2
    assert run("data", "split", str(labelled), "--valid", "0").code == 2
    assert run("data", "split", "-").code == 2
    assert run("data", "split", str(labelled)).code == 0
    again = run("data", "split", str(labelled))
    assert again.code == 2
    assert "exists" in again.err
    assert run("data", "split", str(labelled), "--force").code == 0


def test_split_names_the_files_of_another_split(run: Run, labelled: Path) -> None:
    assert "another split" not in run("data", "split", str(labelled), "--test", "10").err
    result = run("data", "split", str(labelled), "--seed", "1", "--force")
    assert result.code == 0
    assert f"{labelled.parent / 'mail.test.jsonl'} is of another split" in result.err


def test_a_hint_holds_no_line_of_a_file_name(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "a\n::error::b.jsonl"
    path.write_text("{\n")
    for command in (["split"], ["preview", "--model", "gpt-4o"]):
        result = run("data", *command, str(path))
        assert result.code in (2, 3)
        assert not any(line.startswith("::") for line in result.err.splitlines())


def test_sample(run: Run, tmp_path: Path) -> None:
    result = run("data", "sample", TRAIN, "-n", "5")
    drawn = [line.encode() + b"\n" for line in result.out.splitlines()]
    assert (len(drawn), set(drawn) <= set(LINES)) == (5, True)
    assert result.err == "5 of 78 rows\n"
    assert run("data", "sample", TRAIN, "-n", "5").out == result.out
    assert run("data", "sample", TRAIN, "-n", "5", "--seed", "1").out != result.out
    written = run("data", "sample", TRAIN, "-n", "99", "-o", "some.jsonl")
    assert (tmp_path / "some.jsonl").read_bytes() == Path(TRAIN).read_bytes()
    assert written.err == "78 of 78 rows written to some.jsonl\n"
    assert run("data", "sample", TRAIN, "-o", "some.jsonl").code == 2
    assert run("data", "sample", TRAIN, "-o", "some.jsonl", "--force").code == 0


def test_sample_of_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.BufferedReader(io.BytesIO(b"one\ntwo\nthree"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    assert run("data", "sample", "-", "-n", "3").out == "one\ntwo\nthree\n"


def test_sample_spares_its_source(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"".join(LINES))
    (tmp_path / "link.jsonl").symlink_to(path)
    for out in ("all.jsonl", "link.jsonl"):
        result = run("data", "sample", str(path), "-n", "1", "-o", out, "--force")
        assert result.code == 2
        assert "is the source itself" in result.err
    assert path.read_bytes() == b"".join(LINES)


def test_sample_refuses(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    assert run("data", "sample", "empty.jsonl").code == 3
    assert run("data", "sample", "nowhere.jsonl").code == 2
    assert run("data", "sample", TRAIN, "-n", "0").code == 2
