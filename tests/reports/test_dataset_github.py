"""Annotations and the step's summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import Report
from ftjobs.reports.dataset import SUMMARY_BYTES, Roots, github, summary
from tests.reports.conftest import issue, report

Compare = Callable[[str, str], None]
ROOT = Path("/repo")
ROOTS = Roots(ROOT, ROOT)
COMMAND = re.compile(r"::(error|warning|notice) ([^\r\n]*?)::([^\r\n]*)")


def parse(line: str) -> tuple[str, dict[str, str], str]:
    """A command as the runner reads it: level, properties, message."""
    match = COMMAND.fullmatch(line)
    assert match is not None, line
    pairs = dict(pair.split("=", 1) for pair in match[2].split(","))
    return match[1], {key: unescape(value) for key, value in pairs.items()}, unescape(match[3])


def unescape(text: str) -> str:
    for code, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, char)
    return text


def test_annotations(reports: tuple[Report, ...], same_as: Compare) -> None:
    same_as("github.txt", github(reports, roots=ROOTS))


def test_a_step_summary(reports: tuple[Report, ...], same_as: Compare) -> None:
    same_as("github.md", summary(reports))


def test_commands_carry_what_the_issues_say(reports: tuple[Report, ...]) -> None:
    parsed = [*map(parse, github(reports, roots=ROOTS).splitlines())]
    level, where, message = parsed[0]
    assert level == "error"
    assert (where["file"], where["line"], where["col"]) == ("データ/train set.jsonl", "3", "109")
    assert where["title"] == "FT204 line ends too early"
    assert message.splitlines()[0] == "the line ends where ',' or '}' should follow"
    assert any(where["file"] == "50%,odd:name.jsonl" for _, where, _ in parsed)
    assert any(message.startswith("100 % odd, 灯り: red and <b>") for *_, message in parsed)


def test_github_shows_ten_of_each_and_every_code_comes_first(many: Report) -> None:
    *commands, last = github([many], roots=ROOTS).splitlines()
    parsed = [*map(parse, commands)]
    assert Counter(level for level, _, _ in parsed) == {"error": 10, "warning": 10}
    assert [where["title"][:5] for _, where, _ in parsed[:2]] == ["FT204", "FT203"]
    assert last.startswith("Not annotated: 190 errors and 290 warnings.")


def test_what_was_only_counted_is_left_out_too(many: Report) -> None:
    cut = many.model_copy(update={"issues": many.issues[:3]})
    assert "197 errors and 300 warnings" in github([cut], roots=ROOTS)


def test_a_file_that_could_not_be_checked_is_annotated(many: Report) -> None:
    lines = github([many], roots=ROOTS, problems=["x.jsonl: no such file"]).splitlines()
    assert lines[0] == "::error title=ftjobs::x.jsonl: no such file"
    assert sum(line.startswith("::error") for line in lines) == 10


def test_paths_are_relative_to_the_repository() -> None:
    inside, outside = (report(path, issue("FT107", 1)) for path in ("/repo/a/b.jsonl", "/c.jsonl"))
    assert "file=a/b.jsonl," in github([inside], roots=ROOTS)
    assert "file=/c.jsonl," in github([outside], roots=ROOTS)


@given(st.text(), st.text(min_size=1))
def test_nothing_breaks_out_of_its_command(message: str, path: str) -> None:
    lines = github([report(path, issue("FT107", 1, message=message))], roots=ROOTS).split("\n")
    assert len(lines) == 1
    level, where, said = parse(lines[0])
    assert (level, where["line"], where["title"]) == ("warning", "1", "FT107 blank line")
    assert said.endswith("Remove the line.")


@pytest.mark.parametrize("most", [0, 100, 1000, SUMMARY_BYTES])
def test_a_summary_fits(most: int) -> None:
    reports = [report(f"{number:06}-灯り.jsonl") for number in range(14_000)]
    text = summary(reports, most_bytes=most)
    assert len(text.encode()) <= most
    assert text.endswith("* …\n") or most == 0
    assert len(text.encode()) > most - 200


def test_a_summary_holds_no_markup_from_outside(reports: tuple[Report, ...]) -> None:
    text = summary(reports)
    assert "<b>" not in text.replace("\\<b\\>", "")
    rows = [line for line in text.splitlines() if line.startswith("| FT")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 7 for row in rows)
