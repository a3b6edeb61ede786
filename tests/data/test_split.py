"""Splits and samples: no line lost, no prompt on two sides, sizes kept, the same seed the same."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data.checker import check_all
from ftjobs.data.near import near_duplicates
from ftjobs.data.sample import sample
from ftjobs.data.split import Split, split
from ftjobs.data.texts import parse, prompt_of
from ftjobs.errors import ConfigError, DatasetError, FtjobsError

Asked = tuple[int, str]  # which prompt, which answer


def chat(prompt: object, answer: str) -> dict[str, Any]:
    asked = {"role": "user", "content": f"Question {prompt}?"}
    return {"messages": [asked, {"role": "assistant", "content": answer}]}


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return path


def parts(done: Split) -> dict[str, list[bytes]]:
    return {side.name: side.path.read_bytes().splitlines(keepends=True) for side in done.sides}


def prompt(line: bytes) -> str:
    row = parse(line)
    assert row is not None
    return prompt_of(row)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["yes", "no", "a long story " * 9])),
        min_size=3,
        max_size=40,
    ),
    valid=st.one_of(st.floats(0.05, 0.5), st.integers(1, 6)),
    test=st.one_of(st.just(0), st.floats(0.05, 0.4), st.integers(1, 6)),
    seed=st.integers(-5, 2**70),
)
def test_the_promises(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Asked],
    valid: float,
    test: float,
    seed: int,
) -> None:
    path = write(tmp_path_factory.mktemp("split") / "all.jsonl", [chat(*row) for row in rows])
    whole = path.read_bytes().splitlines(keepends=True)
    sizes = Counter(prompt(line) for line in whole)
    try:
        done = split(path, valid=valid, test=test, seed=seed)
    except ConfigError:  # too few rows, or too many with one prompt
        assert list(path.parent.iterdir()) == [path]
        assert len(rows) < 15 or max(sizes.values()) > 2
        return
    found = parts(done)
    assert Counter(line for side in found.values() for line in side) == Counter(whole)
    for lines in found.values():  # in the order of the file
        rest = iter(whole)
        assert all(line in rest for line in lines)
    prompts = [{prompt(line) for line in side} for side in found.values()]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == done.groups
    assert done.largest == max(sizes.values())
    for side in done.sides:
        assert side.rows == len(found[side.name]) > 0
        if side.name != "train":
            assert abs(side.rows - side.wanted) < done.largest
    assert sum(side.wanted for side in done.sides) == len(rows)
    again = split(path, valid=valid, test=test, seed=seed, force=True)
    assert (again, parts(again)) == (done, found)


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 60), st.integers(1, 9), st.integers(0, 9))
def test_sizes_are_exact_where_every_prompt_is_its_own(
    tmp_path_factory: pytest.TempPathFactory, rows: int, valid: int, seed: int
) -> None:
    path = write(
        tmp_path_factory.mktemp("split") / "all.jsonl",
        [chat(row, "yes" if row % 3 else "no") for row in range(rows)],
    )
    done = split(path, valid=valid, seed=seed)
    assert done.exact
    assert done.sides[1].rows == valid
    assert done.groups == rows


def test_labels_are_balanced(tmp_path: Path) -> None:
    rows = [chat(row, "spam" if row % 10 == 0 else "fine") for row in range(1000)]
    for seed in range(5):
        done = split(write(tmp_path / "all.jsonl", rows), valid=0.1, test=50, seed=seed, force=True)
        assert [side.labels for side in done.sides] == [
            {"spam": 85, "fine": 765},
            {"spam": 10, "fine": 90},
            {"spam": 5, "fine": 45},
        ]


@pytest.mark.parametrize(
    "answers",
    [
        [f"answer {row}" for row in range(60)],  # too many
        [f"answer {row % 30}" for row in range(59)],  # nearly one a row
        ["yes" * 30, "no"] * 30,  # too long
        ["yes"] * 60,
    ],
)
def test_answers_that_are_no_labels(tmp_path: Path, answers: list[str]) -> None:
    path = write(tmp_path / "all.jsonl", [chat(*row) for row in enumerate(answers)])
    assert [side.labels for side in split(path, valid=10).sides] == [{}, {}]


def test_seeds_differ_and_rows_stay_when_others_come(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    rows = [chat(row, f"Answer {row}") for row in range(300)]
    one = parts(split(write(path, rows), seed=1))
    other = parts(split(path, seed=2, force=True))
    assert len(set(one["valid"]) & set(other["valid"])) < 15
    longer = parts(
        split(write(path, [*rows, *map(chat, range(300, 330), "x" * 30)]), seed=1, force=True)
    )
    assert len(set(one["valid"]) & set(longer["valid"])) > 25


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    rows = [chat(row % 90, ("yes", "no")[row % 2]) for row in range(200)]
    write(tmp_path / "all.jsonl", rows)
    code = "from ftjobs.data.split import split; split('all.jsonl', valid=20, test=0.1, force=True)"
    seen = set()
    for hash_seed in ("1", "2"):
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=environ)
        seen.add(tuple(path.read_bytes() for path in sorted(tmp_path.glob("all.*.jsonl"))))
    assert len(seen) == 1


def test_one_prompt_however_it_is_written(tmp_path: Path) -> None:
    spelt = ["Is it on?", "is it  ON？\n", [{"type": "text", "text": "Is it on?"}]]
    rows = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}]}
        for text in spelt
    ]
    path = write(tmp_path / "all.jsonl", [*rows, *(chat(row, "No.") for row in range(9))])
    done = split(path, valid=3)
    assert (done.groups, done.largest) == (10, 3)


def test_every_method(tmp_path: Path) -> None:
    def asked(row: int) -> list[dict[str, str]]:
        return [{"role": "user", "content": f"Question {row // 2}?"}]

    def says(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    methods: dict[str, list[dict[str, Any]]] = {
        "dpo": [
            {
                "input": {"messages": asked(row)},
                "preferred_output": says(f"Good {row}."),
                "non_preferred_output": says("Bad."),
            }
            for row in range(40)
        ],
        "reinforcement": [{"messages": asked(row), "correct": str(row)} for row in range(40)],
        "completion": [
            {"prompt": f"Question {row // 2}?", "completion": f" {row}"} for row in range(40)
        ],
        "dialogue": [
            {"messages": [*asked(row), *says("Why?"), *asked(row), *says(f"{row}")]}
            for row in range(40)
        ],
    }
    targets = {"reinforcement": "openai", "completion": "together"}
    for method, rows in methods.items():
        path = write(tmp_path / f"{method}.jsonl", rows)
        done = split(path, valid=10, target=targets.get(method, "local"))
        assert (method, done.groups, done.largest, done.sides[1].rows) == (method, 20, 2, 10)


def test_rows_that_are_nearly_the_same_stay_together(tmp_path: Path) -> None:
    story = "It was sent on Monday and should be with you by the end of this week, we think. " * 2
    rows = [chat(row // 4, f"{row // 4} {story}{row}") for row in range(0, 160, 4)]
    alike = [
        chat(f"{row // 2} which we like", f"{'abcdefghijkl'[row // 2] * 90}{row}")
        for row in range(24)
    ]
    path = write(tmp_path / "all.jsonl", [*alike, *rows])
    assert split(path, valid=10).groups == 52
    done = split(path, valid=10, near=0.8, force=True)
    assert done.largest >= 40
    sides = parts(done)
    for number in range(12):
        start = f'"Question {number} which'.encode()
        assert sum(any(start in line for line in side) for side in sides.values()) == 1


def test_the_parts_of_a_split_do_not_overlap(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = []
    for row in range(120):
        words = [f"word{rng.randrange(400)}" for _ in range(40)]
        for copy in range(row % 4):
            words[copy] = "changed"
            rows.append(chat(" ".join(words), ("yes", "no")[copy % 2]))
    done = split(write(tmp_path / "all.jsonl", rows), valid=20, test=20, near=0.7)
    paths = [side.path for side in done.sides]
    assert done.groups < 100
    assert done.largest == 3
    assert all(pair.first.path == pair.second.path for pair in near_duplicates(paths))
    reports = check_all(paths, select=["FT811", "FT812"])
    assert [issue for report in reports for issue in report.issues] == []


def test_groups_that_are_too_large(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [chat("same", f"{row}") for row in range(20)])
    with pytest.raises(ConfigError, match="nothing is left for valid: 20 of 20 rows"):
        split(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_side_takes_too_many_rows_if_too_few_would_be_worse(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [chat(row // 4, f"{row}") for row in range(40)])
    done = split(path, valid=11)
    assert [(side.rows, side.wanted) for side in done.sides] == [(28, 29), (12, 11)]
    assert not done.exact
    assert split(path, valid=9, force=True).sides[1].rows == 8


def test_bytes_are_kept(tmp_path: Path) -> None:
    first, second = (
        json.dumps(chat(1, "灯")).encode(),
        b'{ "messages" :' + json.dumps(chat(2, "b")["messages"]).encode() + b"}\t",
    )
    path = tmp_path / "all.v2.jsonl.gz"
    path.write_bytes(gzip.compress(first + b"\r\n" + second))
    done = split(path, valid=1, folder=tmp_path / "new" / "parts")
    assert [side.path.name for side in done.sides] == ["all.v2.train.jsonl", "all.v2.valid.jsonl"]
    found = sorted(side.path.read_bytes() for side in done.sides)
    assert found == sorted([first + b"\r\n", second + b"\n"])


def test_nothing_is_written_over(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [chat(row, "x") for row in range(9)])
    (tmp_path / "all.valid.jsonl").write_text("mine")
    with pytest.raises(ConfigError, match="exists"):
        split(path, valid=2)
    assert (tmp_path / "all.valid.jsonl").read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "all.valid.jsonl"]
    split(path, valid=2, force=True)
    assert (tmp_path / "all.valid.jsonl").read_text() != "mine"


def test_a_full_disk_leaves_no_half_of_a_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "all.jsonl", [chat(f"Question {n}", f"Answer {n}") for n in range(20)])
    old = split(path)
    before = parts(old)
    sync, calls = os.fsync, 0

    def full(handle: int) -> None:  # there is room for one file, whichever that is
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FtjobsError, match="No space left"):
        split(path, seed=1, force=True)
    assert parts(old) == before
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_with_errors_is_not_split(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [*(chat(row, "x") for row in range(9)), {"messages": []}])
    with pytest.raises(DatasetError) as caught:
        split(path)
    assert caught.value.issues[0].line == 10
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("size", [-1, 1.0, 1.5, -0.1, float("nan"), float("inf"), True])
def test_sizes_that_cannot_be(tmp_path: Path, size: float) -> None:
    path = write(tmp_path / "all.jsonl", [chat(row, "x") for row in range(9)])
    with pytest.raises(ConfigError, match="valid cannot have"):
        split(path, valid=size)


def test_what_cannot_be_split(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", [chat(row, "x") for row in range(9)])
    with pytest.raises(ConfigError, match="nothing to split off"):
        split(path, valid=0)
    with pytest.raises(ConfigError, match=r"9 rows less 5 for valid and 4 for test"):
        split(path, valid=5, test=4)
    with pytest.raises(ConfigError, match="standard input"):
        split("-")
    with pytest.raises(ConfigError, match=r"all\.jsonl: "):
        split(path, folder=path)


# --- samples -----------------------------------------------------------------------------------


@given(st.integers(1, 60), st.integers(1, 70), st.integers(-5, 2**70))
def test_a_sample(
    tmp_path_factory: pytest.TempPathFactory, rows: int, count: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("sample") / "rows.jsonl"
    whole = [f"{row} \xff{{\r".encode("latin-1") for row in range(rows)]
    path.write_bytes(b"\n\n".join(whole))
    drawn = sample(path, count, seed=seed)
    assert drawn.rows == rows
    assert len(drawn.lines) == min(count, rows)
    rest = iter(whole)
    assert all(line in rest for line in drawn.lines)
    assert sample(path, count, seed=seed) == drawn
    assert set(drawn.lines) <= set(sample(path, count + 1, seed=seed).lines)


def test_every_row_is_drawn_as_often(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{row}\n" for row in range(20)))
    counts = Counter(line for seed in range(2000) for line in sample(path, 5, seed=seed).lines)
    expected = 2000 * 5 / 20
    chi_squared = sum((count - expected) ** 2 / (expected * 0.75) for count in counts.values())
    assert len(counts) == 20
    assert chi_squared < 45  # 19 degrees of freedom: 0.0007


def test_what_cannot_be_sampled(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n \n")
    with pytest.raises(DatasetError, match="holds no rows"):
        sample(path, 1)
    with pytest.raises(ConfigError, match="cannot draw 0"):
        sample(path, 0)
    path.write_bytes(gzip.compress(os.urandom(9999))[:500])
    with pytest.raises(DatasetError, match=r"damaged|cannot be read"):
        sample(path, 1)
