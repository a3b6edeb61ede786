"""The diff is exact whatever the texts are, reads well, and takes no time."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.reports.comparison._diff import Change, diff


def shown(changes: list[Change]) -> str:
    marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return "".join(marks[kind].format(text) for kind, text in changes)


def is_exact(old: str, new: str, changes: list[Change]) -> bool:
    sides = (
        "".join(text for kind, text in changes if kind != gone) for gone in ("added", "removed")
    )
    return tuple(sides) == (old, new)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", ""),
        ("a b", "a b", "a b"),
        ("", "new", "{+new+}"),
        ("old", "", "[-old-]"),
        (
            "You may return it within 14 days.",
            "You may return it within 30 days of delivery.",
            "You may return it within [-14-]{+30+} days{+ of delivery+}.",
        ),
        ("It costs 1,234.50 yen", "It costs 1,234.80 yen", "It costs [-1,234.50-]{+1,234.80+} yen"),
        ("I don't know", "I do know", "I [-don't-]{+do+} know"),
        ("定休日は火曜日です。", "定休日は水曜日です。", "定休日は[-火-]{+水+}曜日です。"),
        ("Tokyoは晴れ", "Osakaは晴れ", "[-Tokyo-]{+Osaka+}は晴れ"),
        ("สวัสดีครับ", "สวัสดีค่ะ", "สวัสดี[-ครับ-]{+ค่ะ+}"),
        ("か\u3099く", "かく", "[-か\u3099-]{+か+}く"),
        ("नमस्ते दुनिया", "नमस्ते भारत", "नमस्ते [-दुनिया-]{+भारत+}"),
        ("ok 👩\u200d💻!", "ok 👩\u200d🔬!", "ok [-👩\u200d💻-]{+👩\u200d🔬+}!"),
        ("one two three", "1 2 3", "[-one two three-]{+1 2 3+}"),
        ("a\nb\nc", "x\nb\ny", "[-a-]{+x+}\nb\n[-c-]{+y+}"),
    ],
)
def test_it_reads_well(old: str, new: str, expected: str) -> None:
    assert shown(diff(old, new)) == expected


texts = st.text(max_size=40) | st.text("ab \n、。日本語か\u3099ค่่1.,'", max_size=60)


@given(texts, texts)
def test_it_is_exact(old: str, new: str) -> None:
    changes = diff(old, new)
    assert is_exact(old, new, changes)
    assert all(text for _, text in changes)
    kinds = [kind for kind, _ in changes]
    pairs = list(pairwise(kinds))
    assert all(one != two for one, two in pairs)
    assert ("added", "removed") not in pairs


@given(texts)
def test_the_same_text_has_no_change(text: str) -> None:
    assert diff(text, text) == ([("same", text)] if text else [])


MEGABYTE = 1_000_000
WORDS = random.Random(0).choices(["one", "two", "three", "four"], k=250_000)
KANA = random.Random(1).choices("あいうえおかきくけこ", k=MEGABYTE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a " * (MEGABYTE // 2), "b " * (MEGABYTE // 2)),
        ("a " * (MEGABYTE // 2), "b" + "a " * (MEGABYTE // 2 - 1)),
        ("a" * MEGABYTE, "あ" * MEGABYTE),
        (" ".join(WORDS), " ".join(reversed(WORDS))),
        (" ".join(WORDS), " ".join(word + "s" * (n % 999 == 0) for n, word in enumerate(WORDS))),
        ("".join(KANA), "".join(reversed(KANA))),
        ("".join(KANA[:100_000]), "".join(reversed(KANA[:100_000]))),
        ("あい" * 50_000, "いあう" * 33_000),
        ("あ" * 99_000, ("あ" * 98 + "う") * 1_000),
        (" ".join(WORDS[:20_000]), " ".join(reversed(WORDS[:20_000]))),
    ],
)
def test_a_megabyte_takes_less_than_a_second(old: str, new: str) -> None:
    started = time.process_time()
    changes = diff(old, new)
    assert time.process_time() - started < 1
    assert is_exact(old, new, changes)


def test_long_texts_are_read_for_words_around_what_differs() -> None:
    rest = "word " * 100_000
    assert diff(f"{rest}Tuesday {rest}", f"{rest}Thursday {rest}") == [
        ("same", rest),
        ("removed", "Tuesday"),
        ("added", "Thursday"),
        ("same", f" {rest}"),
    ]
