"""Lines of a conversation that change how answers are drawn."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.cli.adjust import SETTINGS, adjusted, in_force, is_adjustment, listing
from ftjobs.errors import ConfigError
from ftjobs.schema import Sampling


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("--num_beams 4 --top_k 30", {"num_beams": 4, "top_k": 30}),
        ("num_beams 4 top_k 30", {"num_beams": 4, "top_k": 30}),
        ("  --num-beams=4   --top-k=0 ", {"num_beams": 4, "top_k": 0}),
        ("--max_new_tokens 9 --min_length_inference 2", {"max_tokens": 9, "min_tokens": 2}),
        ('stop "two words"', {"stop": ("two words",)}),
        (r"--stop \n --stop 'b c'", {"stop": (r"\n", "b c")}),
        ("--repetition_penalty 1.2 --seed 7", {"repetition_penalty": 1.2, "seed": 7}),
        ("", {}),
    ],
)
def test_lines_that_change_it(line: str, wanted: dict[str, Any]) -> None:
    before = Sampling(temperature=0)
    assert adjusted(before, line) == Sampling(**{"temperature": 0} | wanted)
    assert adjusted(before, f"{line} --temperature default") == Sampling(**wanted)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--num_beam 4", "unknown setting 'num_beam'.*num_beams"),
        ("--num_beams", "--num_beams lacks a value"),
        ("--num_beams --top_k 3", "--num_beams lacks a value"),
        ("top_k 3 num_beams", "num_beams lacks a value"),
        ("--top_k many", "top_k: "),
        ("--num_beams 4", "temperature must be 0 or left out"),
        ("--stop 'open", "quotation mark"),
        ("--n 3", "one answer at a time"),
        ("--do_sample true", "temperature 0"),
        ("--logprobs true", "logprobs: for programs"),
        ("--colour default", "unknown setting 'colour'"),
        ("--min_tokens 9 --max_tokens 8", "min_tokens: an answer has at most"),
    ],
)
def test_lines_that_cannot_be(line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        adjusted(Sampling(temperature=0.3), line)


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("--num_beams 4", True),
        ("  --top-k=3", True),
        ("--max_new_tokens 3", True),
        ("--temperature is what?", True),
        ("--num_beam 4 --top_k 3", True),
        ("--help", True),
        ("--verbose is an option of what?", False),
        ("-- 4", False),
        ("--", False),
        ("---a", False),
        ("", False),
        ("what is --num_beams 4", False),
        ("—num_beams 4", False),
    ],
)
def test_settings_are_told_from_questions(line: str, settings: bool) -> None:
    assert is_adjustment(line) is settings


def test_what_changes_nothing_is_said() -> None:
    assert in_force(Sampling()) == "all defaults"
    assert in_force(Sampling(top_k=3, stop=("a b",))) == "stop 'a b'  top_k 3"
    assert "top_k, seed change nothing: beams" in in_force(Sampling(num_beams=2, top_k=3, seed=1))
    assert "top_p changes nothing: the likeliest" in in_force(Sampling(temperature=0, top_p=0.5))


@given(st.text(max_size=60))
def test_any_line_is_understood_or_refused(line: str) -> None:
    is_adjustment(line)
    with suppress(ConfigError):
        assert in_force(adjusted(Sampling(), line))


@given(st.integers(1, 200))
def test_the_list_has_every_setting_in_the_width_there_is(columns: int) -> None:
    lines = list(listing(Sampling(stop=("x", "y"), temperature=0.25), columns))
    text = "\n".join(lines)
    assert all(f"\n{name} " in f"\n{text}" for name in SETTINGS if name != "n")
    assert "0.25" in text
    assert "'x' 'y'" in text
    if columns >= 80:
        assert max(map(len, lines)) <= columns
