"""The broken datasets: their README and the checker say exactly the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftjobs.data import RULES, check

FOLDER = Path(__file__).parents[2] / "datasets" / "broken"
README = (FOLDER / "README.md").read_text("utf-8")
IN_NO_FILE = {"FT210", "FT504"}


def table(first_cell: str) -> list[tuple[str, str]]:
    """The first two cells of the rows whose first cell matches."""
    rows = re.findall(rf"^\| ({first_cell}) \| ([^|]*) \|", README, re.MULTILINE)
    return [(first.strip("`"), second) for first, second in rows]


def test_the_table_of_lines_is_what_the_checker_finds() -> None:
    report = check(FOLDER / "every-mistake.jsonl")
    found: dict[int, list[str]] = {line: [] for line in range(1, report.lines + 1)}
    for issue in report.issues:
        assert issue.line is not None
        found[issue.line].append(f"{issue.code} at {issue.column}" if issue.column else issue.code)
    assert table(r"\d+") == [(str(line), ", ".join(all_) or "–") for line, all_ in found.items()]


def test_the_table_of_files_is_what_the_checker_finds() -> None:
    rows = table(r"`[^`]*`")
    files = {path.name for path in FOLDER.iterdir()}
    assert {name for name, _ in rows} == files - {"README.md", "every-mistake.jsonl"}
    for name, codes in rows:
        assert [issue.code for issue in check(FOLDER / name).issues] == codes.split(", "), name


def test_every_code_but_two_has_a_place_in_the_folder() -> None:
    assert set(re.findall(r"FT\d{3}", README)) == set(RULES)
    shown = {code for _, codes in table(r"\d+|`[^`]*`") for code in re.findall(r"FT\d{3}", codes)}
    assert shown == set(RULES) - IN_NO_FILE


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.[jc]s*")), ids=lambda path: path.name)
def test_no_issue_repeats_the_text_of_an_example(path: Path) -> None:
    for issue in check(path).issues:
        said = f"{issue.message} {issue.pointer}"
        assert not re.search("kumo|lamp|shelf|hours|brief|charge|stock", said, re.IGNORECASE)
