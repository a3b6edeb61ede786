"""Statistics of a file: exact counts, and histograms that forget no value."""

from __future__ import annotations

import gzip
import json
import math
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs import data
from ftjobs.data.stats import Histogram, Tally, statistics
from ftjobs.errors import ConfigError, DatasetError
from tests.data.test_tokens import (
    BYTES,
    CALL,
    SHORT_TOKENS,
    Refusing,
    assistant,
    by_bytes,
    preference,
    user,
)

VALUES = st.lists(st.integers(0, 2**40) | st.integers(0, 300), min_size=1, max_size=60)


def histogram_of(values: Sequence[int]) -> Histogram:
    tally = Tally()
    for value in values:
        tally.add(value)
    found = tally.histogram()
    assert found is not None
    return found


# --- histograms -------------------------------------------------------------------------------


@given(VALUES)
def test_every_value_is_in_its_bin(values: list[int]) -> None:
    found = histogram_of(values)
    for (start, end), count in zip(pairwise(found.edges), found.counts, strict=True):
        assert count == sum(start <= value < end for value in values)
    assert sum(found.counts) == len(values)
    assert found.counts[0] > 0
    assert found.counts[-1] > 0


@given(VALUES)
def test_sums_and_ends_are_exact(values: list[int]) -> None:
    found = histogram_of(values)
    assert (found.minimum, found.maximum, found.total) == (min(values), max(values), sum(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


@given(VALUES)
def test_percentiles_are_by_nearest_rank_and_at_most_one_in_128_too_high(
    values: list[int],
) -> None:
    found = histogram_of(values)
    for percent, shown in ((5, found.p5), (50, found.p50), (95, found.p95)):
        true = sorted(values)[math.ceil(len(values) * percent / 100) - 1]
        assert true <= shown <= true + true // 128
        if true < 256:
            assert shown == true


def test_five_percent_are_five_percent() -> None:
    found = histogram_of(range(1, 101))
    assert (found.p5, found.p50, found.p95) == (5, 50, 95)


@given(VALUES, VALUES)
def test_parts_add_up_to_the_whole(a: list[int], b: list[int]) -> None:
    one, other = Tally(), Tally()
    for value in a:
        one.add(value)
    for value in b:
        other.add(value)
    one.merge(other)
    assert one.histogram() == histogram_of(a + b)


@given(VALUES)
def test_there_are_few_bins_and_they_never_narrow(values: list[int]) -> None:
    edges = histogram_of(values).edges
    widths = [end - start for start, end in pairwise(edges)]
    octaves = max(values).bit_length() - min(values).bit_length() + 1
    assert len(widths) <= max(16, octaves + 1)
    assert widths == sorted(widths)


def test_nothing_has_no_histogram() -> None:
    empty = Tally()
    empty.merge(Tally())
    assert empty.histogram() is None


# --- files ------------------------------------------------------------------------------------


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "train.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def row(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": messages}


def test_everything_is_counted(tmp_path: Path) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://x"}}
    path = write(
        tmp_path,
        row(user("abc"), assistant("de")),
        "",
        row(user([{"type": "text", "text": "ab"}, picture]), assistant(None, tool_calls=[CALL])),
        "{broken",
    )
    found = statistics(path)
    assert (found.rows, found.examples, found.method) == (3, 2, "supervised")
    assert found.messages == {"user": 2, "assistant": 2}
    assert (found.tool_calls, found.images, found.characters) == (1, 1, 3 + 2 + 2 + 8)
    assert found.turns is not None
    assert (found.turns.minimum, found.turns.maximum) == (2, 2)
    assert (found.counter, found.tokens, found.answer_tokens) == (None, None, None)


def test_tokens_and_what_is_cut_of_them(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        row(user("abc"), assistant("de")),
        row(user("abc"), assistant("d" * 10)),
        row(user("a" * 40), assistant("d" * 5)),
    )
    found = statistics(path, by_bytes(30))
    assert found.tokens is not None
    assert found.answer_tokens is not None
    assert (found.counter, found.exact, found.context) == ("bytes", True, 30)
    assert found.tokens.total == SHORT_TOKENS + (SHORT_TOKENS + 8) + (SHORT_TOKENS + 40)
    assert found.answer_tokens.total == 2 + 10 + 5
    assert (found.cut, found.answers_cut, found.cut_tokens) == (2, 2, 5 + 37)


def test_examples_that_a_model_cannot_be_shown_are_in_no_number(tmp_path: Path) -> None:
    path = write(
        tmp_path, row(user("abc"), assistant("de")), row(user("a"), user("b"), assistant("c"))
    )
    found = statistics(path, Refusing(BYTES))
    assert (found.examples, found.uncounted) == (2, 1)
    assert found.tokens is not None
    assert found.tokens.total == SHORT_TOKENS


def test_a_preference_counts_its_prompt_once(tmp_path: Path) -> None:
    found = statistics(write(tmp_path, preference("abc", "de", "fghi")), by_bytes())
    assert (found.method, found.messages) == ("dpo", {"user": 1, "assistant": 2})
    assert found.characters == 3 + 2 + 4
    assert found.tokens is not None
    assert found.tokens.total == SHORT_TOKENS + 4


def test_a_dataset_is_as_good_as_its_path(tmp_path: Path) -> None:
    path = write(tmp_path, *[row(user(f"q{n}"), assistant("a")) for n in range(10)])
    assert statistics(data.read(path)) == statistics(path)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (["yes", "no", "yes", "yes"], {"yes": 3, "no": 1}),
        (["yes"], None),  # once is no class
        (["yes", "no", "maybe"], None),
        (["x" * 65] * 9, None),
        ([str(n % 50) for n in range(100)], {str(n): 2 for n in range(50)}),
        ([str(n % 51) for n in range(200)], None),
    ],
)
def test_short_answers_that_recur_are_labels(
    answers: list[str], expected: dict[str, int] | None, tmp_path: Path
) -> None:
    path = write(tmp_path, *[row(user("q"), assistant(answer)) for answer in answers])
    assert statistics(path).labels == expected


def test_one_answer_that_is_no_label_ends_them(tmp_path: Path) -> None:
    rows = [row(user("q"), assistant("yes"))] * 5
    path = write(tmp_path, *rows, row(user("q"), assistant(None, tool_calls=[CALL])))
    assert statistics(path).labels is None


def test_an_empty_file_is_all_zeros(tmp_path: Path) -> None:
    found = statistics(write(tmp_path), by_bytes())
    assert (found.rows, found.examples, found.messages, found.tokens) == (0, 0, {}, None)


def test_a_byte_order_mark_is_not_part_of_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, row(user("abc"), assistant("de")))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert statistics(path).examples == 1


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.jsonl"):
        statistics(tmp_path / "nothing.jsonl")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.jsonl"
        line = '{"messages": [%s, %s]}\n'
        with path.open("w") as file:
            for n in range(rows):
                file.write(
                    line % (json.dumps(user(f"q{n:04}" * 200)), json.dumps(assistant(f"a{n}")))
                )
        tracemalloc.start()
        statistics(path, by_bytes(100))
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4000) < peak(1000) + 50_000  # bytes; the file grows by 3 MB


def test_a_compressed_file_is_read_and_a_damaged_one_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, row(user("abc"), assistant("de")))
    packed = gzip.compress(path.read_bytes())
    path.write_bytes(packed)
    assert statistics(path).examples == 1
    path.write_bytes(packed[:-10])
    with pytest.raises(DatasetError, match=r"train\.jsonl: .*(damaged|cannot be read)"):
        statistics(path)
