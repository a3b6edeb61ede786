"""Near duplicates: what is found, what it costs, and that nothing is made up."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data import minhash
from ftjobs.data.minhash import SHINGLE, SIGNATURE, Text, banding, candidates, signatures
from ftjobs.data.near import Clusters, Pair, issues, near_duplicates
from ftjobs.data.texts import normalised
from ftjobs.errors import ConfigError, DatasetError

WORDS = "the lamp in your hall was sent on monday and should be with you by the end of this week"
JAPANESE = "ご注文の照明は月曜日に発送いたしました。今週末までにはお手元に届く予定です。"
TEXTS = st.text(st.sampled_from("abc 灯りÀ😀\n"), max_size=40)


def chat(user: Any, answer: str = "Yes.", system: str = "") -> dict[str, Any]:
    first = [{"role": "system", "content": system}] if system else []
    asked = {"role": "user", "content": user}
    return {"messages": [*first, asked, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: Sequence[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def lines(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    return [(pair.first.line, pair.second.line) for pair in pairs]


def pieces(text: str) -> set[str]:
    return {text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(one: set[str], other: set[str]) -> float:
    """Brute force over sets of strings, which shares nothing with the search."""
    return len(one & other) / len(one | other)


def changed(text: str, words: int, rng: random.Random) -> str:
    """The text with so many of its words replaced."""
    given = text.split()
    for at in rng.sample(range(len(given)), words):
        given[at] = "".join(rng.choices("etaoinshrdlu", k=5))
    return " ".join(given)


def prose(rng: random.Random, words: int) -> str:
    return " ".join("".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 8))) for _ in range(words))


# --- signatures --------------------------------------------------------------------------------


@given(st.floats(0.5, 1))
def test_bands_keep_their_promise(threshold: float) -> None:
    bands = banding(threshold)
    assert bands.bands * bands.width <= SIGNATURE
    assert bands.recall(threshold) >= 0.97
    assert bands.recall(1.0) == 1
    assert bands.recall(threshold / 2) < bands.recall(threshold) or threshold == 0


@given(TEXTS, TEXTS)
def test_similarity_is_exact(one: str, other: str) -> None:
    assert minhash.similarity(Text(one), Text(other)) == jaccard(pieces(one), pieces(other))


@given(st.lists(TEXTS, min_size=1, max_size=8), st.data())
def test_a_signature_depends_on_its_text_alone(texts: list[str], data: st.DataObject) -> None:
    salts = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=8, max_size=8))
    given = [Text(words, salt) for words, salt in zip(texts, salts, strict=False)]
    together = signatures(given)
    for at, text in enumerate(given):
        assert (together[at] == signatures([text])[0]).all()


def test_signatures_show_the_similarity_without_bias() -> None:
    rng = random.Random(1)
    errors = []
    for _ in range(300):
        one = prose(rng, 100)
        other = changed(one, rng.randint(0, 60), rng)
        true = minhash.similarity(Text(one), Text(other))
        shown = (signatures([Text(one)]) == signatures([Text(other)])).mean()
        errors.append(float(shown) - true)
    assert abs(np.mean(errors)) < 4 * 0.5 / np.sqrt(SIGNATURE * len(errors))
    assert np.std(errors) < 0.5 / np.sqrt(SIGNATURE)


@pytest.mark.parametrize("threshold", [0.6, 0.8, 0.9])
def test_candidates_hold_the_pairs_at_the_threshold(threshold: float) -> None:
    """Of signatures that agree with exactly that probability."""
    rng = np.random.default_rng(1)
    ones = rng.integers(0, 2**16, (3000, SIGNATURE), np.uint16)
    keep = rng.random(ones.shape) < threshold
    others = np.where(keep, ones, rng.integers(0, 2**16, ones.shape, np.uint16))
    found = set(map(tuple, candidates(np.concatenate([ones, others]), threshold).tolist()))
    share = sum((at, at + 3000) in found for at in range(3000)) / 3000
    assert share > 0.96
    assert len(found) < 3100


def test_a_bucket_of_everything_is_not_squared() -> None:
    same = np.zeros((5_000, SIGNATURE), np.uint16)
    pairs = candidates(same, 0.8)
    assert len(pairs) < 10 * len(same)
    clusters = Clusters()
    for one, other in pairs.tolist():
        clusters.join(one, other)
    assert {clusters.of(row) for row in range(len(same))} == {0}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=30))
def test_clusters(pairs: list[tuple[int, int]]) -> None:
    clusters, naive = Clusters(), {item: {item} for item in range(21)}
    for one, other in pairs:
        clusters.join(one, other)
        both = naive[one] | naive[other]
        naive.update(dict.fromkeys(both, both))
    assert all(clusters.of(item) == min(naive[item]) for item in naive)


# --- the search --------------------------------------------------------------------------------


def test_planted_rows_are_found_and_others_are_not(tmp_path: Path) -> None:
    rng = random.Random(2)
    texts: list[str] = []
    for row in range(360):
        old = texts and row % 2
        texts.append(changed(rng.choice(texts), rng.randint(0, 6), rng) if old else prose(rng, 50))
    path = write(tmp_path / "rows.jsonl", [chat(text, "", "be kind " * 99) for text in texts])
    pairs = near_duplicates([path])
    sets = [pieces(text) for text in texts]
    for (first, second), pair in zip(lines(pairs), pairs, strict=True):
        assert pair.similarity == jaccard(sets[first - 1], sets[second - 1]) >= 0.8
    true = {
        (one, other)
        for other in range(len(sets))
        for one in range(other)
        if jaccard(sets[one], sets[other]) >= 0.8
    }
    clusters = Clusters()
    for first, second in lines(pairs):
        clusters.join(first - 1, second - 1)
    rows = {other for _, other in true}
    assert len(rows) > 100
    assert sum(clusters.of(one) == clusters.of(other) for one, other in true) >= 0.97 * len(true)
    assert len(rows & {second - 1 for _, second in lines(pairs)}) >= 0.97 * len(rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=12))
def test_every_pair_is_as_similar_as_it_says(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = write(tmp_path_factory.mktemp("near") / "rows.jsonl", [chat(*row) for row in rows])
    texts = [normalised(" ".join(row)) for row in rows]
    sets = [pieces(text) for text in texts]
    pairs = near_duplicates([path], threshold=0.5)
    for pair in pairs:
        one, other = sets[pair.first.line - 1], sets[pair.second.line - 1]
        assert pair.similarity == jaccard(one, other) >= 0.5
        assert pair.first.line < pair.second.line
    found = {second for _, second in lines(pairs)}
    for at, text in enumerate(texts, start=1):  # that two are equal is never missed
        assert at in found or not text or text not in texts[: at - 1]


def test_case_width_and_spaces_do_not_count(tmp_path: Path) -> None:
    rows = [chat(WORDS), chat(f"  {WORDS.upper()}\n"), chat(JAPANESE), chat(JAPANESE + "　")]
    (first, second) = near_duplicates([write(tmp_path / "rows.jsonl", rows)], threshold=1)
    assert (first.similarity, second.similarity) == (1, 1)
    assert lines([first, second]) == [(1, 2), (3, 4)]


def test_text_without_spaces(tmp_path: Path) -> None:
    other = "返品は到着後三十日以内であれば、未使用品に限り無料で承っております。"
    rows = [chat(JAPANESE, other), chat(other), chat(JAPANESE, other.replace("無料", "有料"))]
    assert lines(near_duplicates([write(tmp_path / "rows.jsonl", rows)])) == [(1, 3)]


def test_every_method_is_compared(tmp_path: Path) -> None:
    said = {"role": "assistant", "content": "It is."}
    for at, row in enumerate(
        [
            {"messages": [{"role": "user", "content": WORDS}]},
            {"prompt": WORDS, "completion": " It is."},
            {
                "input": {"messages": [{"role": "user", "content": WORDS}]},
                "preferred_output": [said],
                "non_preferred_output": [{**said, "content": "No."}],
            },
        ]
    ):
        spelt = json.dumps(row).replace("monday", "Tuesday")
        path = write(tmp_path / f"{at}.jsonl", [row, spelt])
        assert lines(near_duplicates([path], threshold=0.7)) == [(1, 2)]


def test_the_same_question_on_other_images_is_another_row(tmp_path: Path) -> None:
    def shown(url: str) -> dict[str, Any]:
        image = {"type": "image_url", "image_url": {"url": url}}
        return chat([{"type": "text", "text": WORDS}, image])

    path = write(tmp_path / "rows.jsonl", [shown("a"), shown("b"), shown("a")])
    assert lines(near_duplicates([path])) == [(1, 3)]


def test_between_files(tmp_path: Path) -> None:
    rng = random.Random(3)
    leaked, own = prose(rng, 60), prose(rng, 60)
    train = write(tmp_path / "train.jsonl", [chat(prose(rng, 60)), chat(leaked)])
    copies = [changed(leaked, 1, rng), changed(own, 1, rng), own, changed(leaked, 1, rng)]
    valid = write(tmp_path / "valid.jsonl", [chat(text) for text in copies])
    pairs = near_duplicates([train, valid])
    found = {(pair.first.path.name, pair.first.line, pair.second.line) for pair in pairs}
    assert {("train.jsonl", 2, 1), ("train.jsonl", 2, 4), ("valid.jsonl", 2, 3)} <= found
    assert sorted((issue.line, issue.code) for issue in issues(pairs)) == [
        (1, "FT813"),
        (3, "FT803"),
        (4, "FT803"),
        (4, "FT813"),
    ]


def test_copies_of_a_leaked_row_leak_too(tmp_path: Path) -> None:
    rng = random.Random(4)
    text = prose(rng, 60)
    train = write(tmp_path / "train.jsonl", [chat(text)])
    valid = write(tmp_path / "valid.jsonl", [chat(changed(text, 1, rng)).copy()] * 3)
    leaks = [pair for pair in near_duplicates([train, valid]) if pair.first.path == train]
    assert [pair.second.line for pair in leaks] == [1, 2, 3]


def test_issues_say_where_and_repeat_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat("Hi"), chat(WORDS), chat(WORDS + " ok")])
    (issue,) = issues(near_duplicates([path]))
    assert (issue.code, issue.severity, issue.line) == ("FT803", "warning", 3)
    assert issue.message == "the row is nearly the same as line 2 (similarity 0.92)"
    moved = write(tmp_path / "moved.jsonl", [chat(WORDS), chat(WORDS + " ok")])
    (again,) = issues(near_duplicates([moved]))
    assert again.fingerprint == issue.fingerprint != ""
    assert "hall" not in f"{issue!r}"


def test_rows_that_are_the_same_are_not_nearly_the_same(tmp_path: Path) -> None:
    spelt = json.dumps(chat(WORDS)).replace(": ", ":")
    path = write(tmp_path / "rows.jsonl", [chat(WORDS), chat(WORDS), spelt, chat(WORDS.title())])
    pairs = near_duplicates([path])
    assert lines(pairs) == [(1, 2), (1, 3), (1, 4)]
    assert [(issue.line, issue.message) for issue in issues(pairs)] == [
        (4, "the row says the same as line 1 (similarity 1.00)")
    ]


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    rows = ["\ufeff" + json.dumps(chat(WORDS)), "", "{", "[]", '{"messages": 1}', "{}", chat(WORDS)]
    path = write(tmp_path / "rows.jsonl", rows)
    with path.open("ab") as file:
        file.write(b'{"messages": "\xff"}\n{"messages":' + b"[" * 100_000)
    assert lines(near_duplicates([path])) == [(1, 7)]
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert lines(near_duplicates([packed])) == [(1, 7)]
    packed.write_bytes(packed.read_bytes()[:60])
    assert near_duplicates([packed]) == []
    assert near_duplicates([write(tmp_path / "empty.jsonl", [])]) == []


@pytest.mark.parametrize("threshold", [0.49, 1.01, float("nan"), -1])
def test_a_threshold_that_cannot_be(threshold: float) -> None:
    with pytest.raises(ConfigError, match="cannot search"):
        near_duplicates(["rows.jsonl"], threshold=threshold)


def test_files_that_cannot_be_read_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="standard input"):
        near_duplicates(["-"])
    with pytest.raises(ConfigError, match="no such file"):
        near_duplicates([tmp_path / "rows.jsonl"])


def test_a_file_that_shrinks_between_search_and_report(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [chat(WORDS), chat(WORDS + " ok")])
    pairs = near_duplicates([path])
    write(path, [chat(WORDS)])
    with pytest.raises(DatasetError, match="changed"):
        issues(pairs)


def test_without_numpy() -> None:
    code = """
import sys
sys.modules["numpy"] = None
from ftjobs.errors import ConfigError
import ftjobs.data
try:
    import ftjobs.data.near
except ConfigError as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "pip install 'ftjobs[data]'\n"
