"""Streams that are closed, full, or carry what is no text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from tests.cli.conftest import TRAIN, Run


def shell(line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which "$FTJOBS" is the command."""
    command = f'ftjobs() {{ "{sys.executable}" -m ftjobs "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ftjobs explain FT203 >&-", 0),
        ("ftjobs explain FT203 2>&-", 0),
        (f"ftjobs data check {TRAIN} >&- 2>&- <&-", 0),
        ("ftjobs chat m <&-", 2),
        ("ftjobs data check nofile 2>/dev/full", 2),
        ("ftjobs nosuch 2>/dev/full", 2),
        ("ftjobs explain FT203 >/dev/full", 1),
    ],
)
def test_a_stream_that_cannot_be_used_is_no_bug(line: str, code: int) -> None:
    result = shell(line)
    assert result.returncode == code, result.stderr
    assert "bug" not in result.stderr


def test_a_full_disk_is_named() -> None:
    assert "No space left on device" in shell("ftjobs explain FT203 >/dev/full").stderr


def test_a_question_that_is_no_text_is_a_usage_error() -> None:
    for errors in ("strict", "surrogateescape"):
        result = shell(
            r"printf 'a\xff' | ftjobs chat smollm2-135m", PYTHONIOENCODING=f"utf-8:{errors}"
        )
        assert result.returncode == 2, result.stderr
        assert "UTF-8" in result.stderr


def test_a_file_name_that_is_no_text_can_be_checked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff\x1b[31mx.jsonl")
    path.write_bytes(Path(TRAIN).read_bytes().splitlines(keepends=True)[0])
    result = run("data", "check", "--json", str(path))
    assert result.code == 0
    assert [json.loads(line)["path"] for line in result.out.splitlines()] == [str(path)] * 2
    assert "\x1b" not in run("data", "check", str(path)).err


def test_metadata_that_is_no_text_is_refused(run: Run) -> None:
    result = run("submit", TRAIN, "--model", "fake-base", "--metadata", "a=\udcff")
    assert result.code == 2
    assert "metadata" in result.err


def test_a_hostile_job_id_moves_no_cursor(run: Run, backend: FakeBackend) -> None:
    run("submit", TRAIN, "--model", "fake-base")
    job = backend._runs["ftjob-fake0001"]
    job.set(id="ftjob\x1b[2J\n\u202ex", status="\x1b]0;t\x07odd")
    for words in (("jobs", "list"), ("jobs", "show"), ("jobs", "cancel"), ("watch", "--once")):
        target = () if words[-1] == "list" else ("ftjob-fake0001",)
        result = run(*words, *target)
        assert "\x1b" not in result.out + result.err
        assert "\u202e" not in result.out + result.err


def test_json_moves_no_cursor_and_loses_nothing(run: Run, backend: FakeBackend) -> None:
    run("submit", TRAIN, "--model", "fake-base")
    hostile = "日本 \x1b[2J \x9b2J \x7f \u202ex"
    backend._runs["ftjob-fake0001"].set(suffix=hostile)
    result = run("jobs", "list", "--json")
    assert not set("\x1b\x9b\x7f\u202e") & set(result.out)
    assert "日本" in result.out
    assert result.rows[0]["suffix"] == hostile


@pytest.mark.parametrize("option", ["--timeout", "--every"])
def test_nan_is_no_number_of_seconds(run: Run, option: str) -> None:
    result = run("watch", "latest", option, "nan")
    assert result.code == 2
    assert "not a number of seconds" in result.err


def test_any_limit_can_be_asked_for(run: Run) -> None:
    assert run("jobs", "list", "--limit", str(10**30)).code == 0
