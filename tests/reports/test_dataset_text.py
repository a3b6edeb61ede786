"""Issues by code, for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import RULES, Report
from ftjobs.reports.cells import width as columns_of
from ftjobs.reports.dataset import explanation, text, visible

Compare = Callable[[str, str], None]


def test_wide(reports: tuple[Report, ...], same_as: Compare) -> None:
    same_as("text-100.txt", text(reports, width=100))


def test_narrow(reports: tuple[Report, ...], same_as: Compare) -> None:
    same_as("text-40.txt", text(reports, width=40))


@pytest.mark.parametrize("width", [24, 40, 80, 120])
def test_no_line_is_wider_but_that_of_a_place(reports: tuple[Report, ...], width: int) -> None:
    for line in text(reports, width=width).splitlines():
        assert columns_of(line) <= width or re.fullmatch(r" +\S.*\.jsonl(:\d+){0,2}", line)


def test_colours_change_no_word(reports: tuple[Report, ...]) -> None:
    coloured = text(reports, colour=True)
    assert "\x1b[1;31merror\x1b[0m" in coloured
    assert "\x1b[1;33mwarning\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text(reports)
    assert "\x1b" not in text(reports)


def test_only_the_first_places_of_a_code_are_shown(many: Report) -> None:
    shown = text([many], places=2)
    assert shown.count("many.jsonl:") == 8
    assert "and 98 more: --format plain lists all" in shown
    assert [line for line in shown.splitlines() if "times" in line] == [
        "error FT203 two values on one line (100 times)",
        "error FT204 line ends too early (100 times)",
        "warning FT107 blank line (150 times)",
        "warning FT304 unknown key (150 times)",
    ]


def test_nothing_to_say(reports: tuple[Report, ...]) -> None:
    assert text(reports[2:]) == ""


@pytest.mark.parametrize("width", [1, 40, 200])
def test_every_rule_can_be_explained(width: int) -> None:
    for code, rule in RULES.items():
        said = explanation(rule, width=width)
        assert said.startswith(f"{code}: {rule.title}\n")
        words = " ".join(said.split())
        assert " ".join(rule.why.split()) in words or width == 1
        assert ("Example:" in said) == bool(rule.example)


def test_a_severity_that_differs_names_the_targets() -> None:
    said = " ".join(explanation(RULES["FT502"]).split())
    assert re.search(r"Severity: error for [^;]*openai[^;]*; warning for [^;]*local", said)
    assert "Severity: error. " in " ".join(explanation(RULES["FT204"]).split())


def test_every_character_of_an_example_can_be_seen() -> None:
    assert (
        visible("\ufeffa\tb\u200b 灯\u3000り\n\x1b")
        == "<U+FEFF>a<U+0009>b<U+200B> 灯\u3000り\n<U+001B>"
    )


@given(st.text())
def test_visible_text_moves_no_cursor(example: str) -> None:
    shown = visible(example)
    assert all(char.isprintable() or char in "\n\u3000" for char in shown)
