"""Graders of one's own, and what every grader does with texts that nobody should write."""

import math
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from ftjobs.errors import ConfigError, UnsupportedError
from ftjobs.evals.graders import (
    Function,
    Grader,
    PairGrader,
    Reports,
    bleu,
    chrf,
    contains,
    exact,
    fuzzy,
    gleu,
    json_schema,
    labels,
    normalised,
    regex,
    rouge_l,
    rouge_n,
    tool_calls,
)
from ftjobs.evals.result import Answer, Mark
from tests.evals.graders.marking import mark, score

SECRET = "what nobody may read"


def own(score: Callable[[], Any], **how: Any) -> Function:
    return Function("mine", lambda answer, prompt: score(), **how)


def _same(given: Any) -> Any:
    return given


def test_a_function_is_a_grader() -> None:
    grader = Function("short", lambda answer, prompt: len(answer.text) < 3, "binary")
    assert isinstance(grader, Grader)
    assert not isinstance(grader, PairGrader | Reports)
    assert (score(grader, "ab"), score(grader, "abc")) == (1, 0)


def test_what_a_function_may_give() -> None:
    for given, wanted in [(True, 1), (3, 3), (-0.5, -0.5), (np.float32(0.5), 0.5), (np.True_, 1)]:
        assert mark(own(partial(_same, given)), "") == Mark(score=wanted)
    assert mark(own(lambda: None, lacking="no date"), "") == Mark(score=None, note="no date")
    noted = Mark(score=0.5, note="half")
    assert mark(own(lambda: noted), "") == noted


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (math.nan, "continuous", "gave nan, which is no finite number, on line 7"),
        (math.inf, "continuous", "gave inf, which is no finite number, on line 7"),
        (0.5, "binary", "is binary and gave 0.5, which is not 0 or 1, on line 7"),
        ("0.5", "continuous", "failed with TypeError, on line 7"),
        ([SECRET], "continuous", "failed with TypeError, on line 7"),
        (10**400, "continuous", "failed with OverflowError, on line 7"),
    ],
)
def test_what_is_no_score_is_an_error(given: Any, kind: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"the grader 'mine' {message}"):
        mark(own(lambda: given, kind=kind), SECRET)


def test_a_function_that_fails_is_named_and_what_it_saw_is_not() -> None:
    def fail() -> float:
        raise ValueError(SECRET)

    with pytest.raises(ConfigError, match="'mine' failed with ValueError, on line 7") as caught:
        mark(own(fail), SECRET)
    assert SECRET not in str(caught.value)
    assert SECRET in "".join(traceback.format_exception(caught.value))  # for --debug alone


def test_a_mark_holds_no_infinity() -> None:
    with pytest.raises(ConfigError, match="'mine' failed with ValidationError, on line 7"):
        mark(own(lambda: Mark(score=-math.inf)), SECRET)


def test_an_error_of_ftjobs_passes_as_it_is() -> None:
    def fail() -> float:
        raise UnsupportedError("cannot do that")

    with pytest.raises(UnsupportedError, match="cannot do that"):
        mark(own(fail), "")


# --- hostile texts ----------------------------------------------------------------------------

MEGABYTE = 1_000_000
"""In UTF-8."""

HOSTILE = {
    "English": "The quick brown fox. ",
    "Japanese": "営業時間は、10時からです。",
    "combining": "\u0301\u0316",
    "combining once decomposed": "\u0f73",
    "long once decomposed": "\ufdfa",
    "half-width kana": "ｶﾞｰ",
    "numbers": "1 ",
    "digits": "1",
    "dashes": "-",
    "superscripts": "²",
    "brackets": "[",
    "calls": "<tool_call>",
    "half pairs": "\ud800",
    "right to left": "\u202eשלום ",
}
GRADERS: list[Grader] = [
    exact(),
    normalised(),
    contains(),
    regex(r"^(\w+\s?)+$"),
    chrf(),
    bleu(),
    gleu(),
    rouge_l(),
    rouge_n(5),
    fuzzy(),
    json_schema({"type": "array", "items": {"$ref": "#"}}),
    tool_calls(),
    labels(),
]


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_of_anything_is_graded_in_time(unit: str) -> None:
    answer = unit * (MEGABYTE // len(unit.encode(errors="surrogatepass")))
    expected, call = "The opening hours: 9 to 5.", {"name": "f", "arguments": "{}"}
    for grader in GRADERS:
        start = time.process_time()
        found = mark(grader, Answer(text=answer), expected, [call])
        assert time.process_time() - start < 2, grader.name
        assert found.score is not None
        assert found.score < 1 or grader.name == "regex"


@pytest.mark.parametrize("grader", GRADERS, ids=lambda grader: grader.name)
def test_empty_texts_and_half_a_surrogate_pair(grader: Grader) -> None:
    for answer in ("", "\ud800", "\x00"):
        for expected in ("", "\ud800", "a"):
            assert mark(grader, answer, expected, ()).score in (None, 0, 1)
