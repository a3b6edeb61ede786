"""The broken datasets: their README and the checker say exactly the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ftjobs.data import RULES, check

FOLDER = Path(__file__).parents[2] / "datasets" / "broken"
README = (FOLDER / "README.md").read_text("utf-8")
IN_NO_FILE = {"FT109", "FT210", "FT504", "FT505", "FT506", "FT612"}
SHOWN_HERE = {code for code in RULES if code[:3] <= "FT6"}


def table(first_cell: str) -> list[list[str]]:
    """The cells of the rows whose first cell matches."""
    rows = re.findall(rf"^\| ({first_cell}) \| (.*) \|$", README, re.MULTILINE)
    return [[first.strip("`"), *rest.split(" | ")] for first, rest in rows]


def test_the_table_of_lines_is_what_the_checker_finds() -> None:
    report = check(FOLDER / "every-mistake.jsonl")
    found: dict[int, list[str]] = {line: [] for line in range(1, report.lines + 1)}
    for issue in report.issues:
        assert issue.line is not None
        found[issue.line].append(f"{issue.code} at {issue.column}" if issue.column else issue.code)
    told = [(line, codes) for line, codes, _ in table(r"\d+")]
    assert told == [(str(line), ", ".join(all_) or "–") for line, all_ in found.items()]


def test_the_table_of_files_is_what_the_checker_finds() -> None:
    rows = table(r"`[^`]*`")
    files = {path.name for path in FOLDER.iterdir()}
    assert {row[0] for row in rows} == files - {"README.md", "every-mistake.jsonl"}
    for name, target, codes, _ in rows:
        issues = check(FOLDER / name, target=target).issues
        assert (", ".join(issue.code for issue in issues) or "–") == codes, (name, target)


def test_every_code_but_a_few_has_a_place_in_the_folder() -> None:
    cells = [cell for row in table(r"\d+|`[^`]*`") for cell in row[1:-1]]
    shown = set(re.findall(r"FT\d{3}", " ".join(cells)))
    assert shown == SHOWN_HERE - IN_NO_FILE
    assert set(re.findall(r"FT\d{3}", README)) == SHOWN_HERE


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.[jc]s*")), ids=lambda path: path.name)
@pytest.mark.parametrize("target", ["local", "openai", "together"])
def test_no_issue_repeats_the_text_of_an_example(path: Path, target: str) -> None:
    for issue in check(path, target=target).issues:
        said = f"{issue.message} {issue.pointer}"
        assert not re.search("kumo|lamp|shelf|hours|brief|charge|stock", said, re.IGNORECASE)
