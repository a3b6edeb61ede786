"""The estimate of tokens: its classes of characters, and how far it is off."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data import estimate as module
from ftjobs.data.estimate import estimate

ENGLISH = (
    "Your order left the warehouse this morning and should reach you on Thursday. If it has not "
    "arrived by Friday evening, write to us and we will send another one at no cost."
)
JAPANESE = (
    "ご注文の商品は今朝倉庫を出発しました。木曜日にお届けする予定です。"
    "届かない場合はご連絡ください。"
)
CODE = "def area(width: float, height: float) -> float:\n    return width * height\n"


@pytest.mark.parametrize(
    ("text", "encoding", "real"),
    [  # counted once with the real tables
        (ENGLISH, "o200k_base", 36),
        (ENGLISH, "cl100k_base", 36),
        (JAPANESE, "o200k_base", 33),
        (JAPANESE, "cl100k_base", 49),
        (CODE, "o200k_base", 19),
        (CODE, "cl100k_base", 19),
    ],
)
def test_it_is_within_a_fifth_of_the_real_tokenizer(text: str, encoding: str, real: int) -> None:
    assert estimate(text, encoding) == pytest.approx(real, rel=0.2)


def test_every_character_but_space_belongs_to_exactly_one_script() -> None:
    patterns = [script.pattern for script in module._SCRIPTS]
    for code in (*range(0x20), *range(0x21, 0x7F), *range(0x80, 0x10000), 0x1F600, 0x10FFFF):
        found = [p.pattern for p in patterns if p.match(chr(code))]
        few = code < 0x20 or code == 0x7F  # control characters are nobody's
        assert len(found) == 1 or (few and len(found) <= 1), (hex(code), found)


@given(st.text(), st.text())
def test_it_grows_with_the_text(a: str, b: str) -> None:
    assert 0 <= estimate(a) <= estimate(a + "\x00" + b)


@pytest.mark.parametrize("unit", ["\t", " ", "\n", " \n", "a", "^", "あ", "1"])
def test_it_takes_linear_time(unit: str) -> None:
    start = time.perf_counter()
    estimate(unit * 400_000)
    assert time.perf_counter() - start < 2
