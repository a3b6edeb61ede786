"""The mutation test: every kind of damage is found where it is, and clean files are left alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from ftjobs.data import RULES, TARGETS, Report, check
from ftjobs.schema import Issue
from tests.data import damage_content as damage_content  # this and the next fill KINDS
from tests.data import damage_private as damage_private
from tests.data import damage_rows as damage_rows
from tests.data import damage_text as damage_text
from tests.data.mutations import KINDS, Damaged, Expected
from tests.data.rows import clean_file

FILES = 10_000
"""Damaged files in all, and as many clean ones."""

SEEDS = -(-FILES // len(KINDS))
CLEAN = {
    "local": ("supervised", 4000),
    "openai": ("supervised", 2000),
    "wire": ("dpo", 1600),
    "azure": ("reinforcement", 1200),
    "nebius": ("completion", 1200),
}
"""Target → the method of its clean files, and how many are checked."""

IMAGES = {"openai"}
ELSEWHERE = {
    "FT109": "what expands too far: test_hostile",
    "FT110": "compressed data that is damaged: test_hostile",
    "FT210": "a line of more than a million values or 160 MiB: test_hostile",
    "FT504": "a file that changes while it is read: test_hostile",
    "FT505": "files of more than 50,000 rows",
    "FT506": "files of more than 5 GB",
    "FT612": "images of more than 10 MB",
    "FT803": "nearly the same rows, which are looked for on demand",
    "FT81": "file against file",
    "FT9": "tokens, which only a tokenizer counts",
}
"""Beginnings of codes that no kind expects: what they need is no small file."""


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A check that hangs fails its test after a minute."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("the check hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def faults(damaged: Damaged, path: Path) -> list[str]:
    """What the checker got wrong about a damaged file: what it missed, what it made up."""
    path.write_bytes(damaged.data)
    report = check(path, target=damaged.target)
    lines = {one.line for one in damaged.expected}
    codes = {one.code for one in damaged.expected} | damaged.also
    missed = [one for one in damaged.expected if not any(_is(it, one) for it in report.issues)]
    extra = [it for it in report.issues if it.line not in lines or it.code not in codes]
    return [*(f"missed {one}" for one in missed), *(f"made up {it}" for it in extra), *_odd(report)]


def _is(issue: Issue, expected: Expected) -> bool:
    found = Expected(issue.code, issue.line, issue.pointer)
    return expected in {found, found._replace(pointer=None)}


def _odd(report: Report) -> Iterator[str]:
    """What no report may be, whatever the file."""
    if len(report.issues) != report.error_count + report.warning_count:
        yield "the counts are not those of the issues"
    lines = report.path.read_bytes().split(b"\n")
    target = TARGETS[report.target]
    for issue in report.issues:
        if issue.severity != target.severity_of(issue.code) and issue.code != "FT502":
            yield f"{issue.severity}: {issue}"
        room = len(lines[(issue.line or 1) - 1]) + 1
        if issue.column is not None and not 1 <= issue.column <= room:
            yield f"no such column: {issue}"


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_found_where_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.jsonl"
    for seed in range(SEEDS):
        assert not faults(KINDS[name].damage(seed), path), f"KINDS[{name!r}].damage({seed})"


@pytest.mark.parametrize("target", CLEAN)
def test_clean_files_have_no_issue(target: str, tmp_path: Path) -> None:
    path = tmp_path / "clean.jsonl"
    method, files = CLEAN[target]
    for seed in range(files):
        rows = 30 if seed % 20 == 0 else 10 + seed % 2
        images = target in IMAGES
        path.write_bytes(clean_file(seed, method, rows, images=images))
        report = check(path, target=target)
        assert not report.issues, f"clean_file({seed}, {method!r}, {rows}, {images=})"
        assert (report.examples, report.manifest.method) == (rows, method)


def test_every_code_has_a_kind() -> None:
    found = {
        one.code
        for kind in KINDS.values()
        for seed in range(20)
        for one in kind.damage(seed).expected
    }
    assert {code for code in RULES if not code.startswith(tuple(ELSEWHERE))} <= found


def test_there_are_as_many_kinds_as_promised() -> None:
    assert len(KINDS) >= 60
    assert SEEDS * len(KINDS) >= FILES
    assert sum(files for _, files in CLEAN.values()) >= FILES


def test_a_seed_decides_every_byte() -> None:
    for kind in KINDS.values():
        assert kind.damage(7) == kind.damage(7)
        assert (
            len({kind.damage(seed).data for seed in range(9)}) > 1
            or kind.name == "nothing_in_the_file"
        )
