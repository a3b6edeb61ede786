"""Plain lines and JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import Report
from ftjobs.reports.dataset import jsonl, plain, verdict
from tests.reports.conftest import issue, report

Compare = Callable[[str, str], None]


def test_one_issue_a_line(reports: tuple[Report, ...], same_as: Compare) -> None:
    same_as("plain.txt", plain(reports))


def test_every_line_can_be_clicked(reports: tuple[Report, ...]) -> None:
    lines = plain(reports).splitlines()
    assert len(lines) == sum(len(report.issues) for report in reports)
    shape = re.compile(r"(.+\.jsonl)(:\d+)?(:\d+)?: FT\d{3} .+ \((error|warning|info)\)")
    assert all(shape.fullmatch(line) for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_nothing_to_say(reports: tuple[Report, ...]) -> None:
    assert plain(reports[2:]) == ""


def test_verdicts(reports: tuple[Report, ...], many: Report) -> None:
    assert [verdict(report) for report in reports] == [
        "データ/train set.jsonl: not usable: 9 examples in 12 lines, 2 errors, 8 warnings",
        "50%,odd:name.jsonl: not usable: 9 examples in 12 lines, 1 error, 0 warnings",
        "clean.jsonl: ok: 12 examples in 12 lines, 0 errors, 0 warnings",
    ]
    cut = many.model_copy(update={"issues": many.issues[:5]})
    assert verdict(cut).endswith("300 warnings (and more: raise --max-errors)")


def test_json_holds_all_that_there_is(reports: tuple[Report, ...]) -> None:
    rows = [json.loads(line) for line in jsonl(reports).splitlines()]
    totals = [row for row in rows if row.get("object") == "report"]
    assert [row["path"] for row in totals] == [str(report.path) for report in reports]
    assert [row["errors"] for row in totals] == [2, 1, 0]
    assert [row["ok"] for row in totals] == [False, False, True]
    issues = [row for row in rows if "code" in row]
    expected = [one.model_dump() for report in reports for one in report.issues]
    assert issues == expected
    assert rows[-1] == totals[-1]


def test_json_for_a_stream_that_is_not_utf8(reports: tuple[Report, ...]) -> None:
    escaped = jsonl(reports, ascii_only=True)
    assert escaped.isascii()
    assert [*map(json.loads, escaped.splitlines())] == [
        *map(json.loads, jsonl(reports).splitlines())
    ]


def test_json_of_a_name_that_is_no_text(reports: tuple[Report, ...]) -> None:
    odd = reports[2].model_copy(update={"path": Path("\udcff.jsonl")})
    assert json.loads(jsonl([odd]))["path"] == "\udcff.jsonl"


@given(st.text(min_size=1))
def test_no_name_swallows_what_follows(name: str) -> None:
    (line,) = plain([report(name, issue("FT204", 3, 7, message=name))]).split("\n")
    assert "3:7: FT204 " in line
    assert line.endswith(" (error)")
