"""`ftjobs data stats`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftjobs.data.cost import shipped
from tests import tiny
from tests.cli.conftest import TRAIN, Run

Write = Callable[..., str]
PRICE = """
[[price]]
model = "gpt-4o-mini"
service = "S"
usd_per_million_tokens = 1000
date = 2026-01-31
source = "a page"
"""


@pytest.fixture(autouse=True)
def _no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no-tables"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*answers: str, question: str = "q") -> str:
        path = tmp_path / "data.jsonl"
        turns = [
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            for answer in answers
        ]
        path.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
        return str(path)

    return write


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_model(tmp_path_factory.mktemp("models") / "tiny"))


def only(rows: list[dict[str, Any]]) -> dict[str, Any]:
    (row,) = rows
    return row


def test_the_page_says_what_is_in_the_file(run: Run) -> None:
    done = run("data", "stats", TRAIN, "--model", "gpt-4o-mini", "--epochs", "3")
    assert done.code == 0
    for part in (
        "examples    78 supervised",
        "messages    user 86, assistant 86, system 65",
        "tokens per example, estimated",
        "trained tokens per example, estimated",
        "context   65,536 tokens",
        "examples  0 cut",
        "tiktoken's table o200k_base is not on this machine",
        "tokens × 3 epochs = about",
        "cost      about $0.0",
        "as of 2026-11-22 (third party",
    ):
        assert part in done.out
    assert done.err == ""


def test_without_a_model_there_is_no_cost(run: Run) -> None:
    done = run("data", "stats", TRAIN)
    assert done.code == 0
    assert "no model is given" in done.out
    assert "cost" not in done.out


def test_an_unknown_price_is_said_to_be_unknown(run: Run) -> None:
    done = run("data", "stats", TRAIN, "--model", "nobodys-model")
    assert "cost      not known: there is no price for nobodys-model" in done.out
    assert "$" not in done.out


def test_a_local_model_is_counted_by_its_own_tokenizer(
    run: Run, write: Write, tiny_model: str
) -> None:
    done = run("data", "stats", write(*["an answer"] * 64), "--model", tiny_model)
    assert done.code == 0, done.err
    assert "tokens    tiny, exact" in done.out
    assert "context   512 tokens" in done.out
    assert "examples  0 too long" in done.out
    assert "7 epochs (automatic)" in done.out  # by the local rule: 100 steps of 4 examples
    assert "no money: it runs on this machine" in done.out


def test_a_local_model_that_is_not_here_is_estimated(run: Run) -> None:
    done = run("data", "stats", TRAIN, "--model", "smollm2-135m")
    assert done.code == 0
    assert "the tokenizer of smollm2-135m is not on this machine" in done.out
    assert "ftjobs models pull smollm2-135m" in done.out


def test_json_has_every_number(run: Run) -> None:
    done = run("data", "stats", TRAIN, "--model", "gpt-4o-mini-2024-07-18", "--json")
    found = only(done.rows)
    assert (found["object"], found["examples"], found["exact"]) == ("statistics", 78, False)
    assert sum(found["tokens"]["counts"]) == 78
    cost = found["cost"]
    assert cost["billed_tokens"] == 3 * found["tokens"]["total"]
    price = shipped()["gpt-4o-mini"]
    assert cost["usd"] == pytest.approx(
        cost["billed_tokens"] * price.usd_per_million_tokens / 1_000_000
    )
    assert cost["price"]["date"] == price.date.isoformat()


def test_unknown_costs_are_null_in_json(run: Run) -> None:
    found = only(run("data", "stats", TRAIN, "--model", "nobodys-model", "--json").rows)
    assert found["cost"]["usd"] is None
    assert found["context"] is None


def test_prices_of_ones_own_go_first(run: Run, tmp_path: Path) -> None:
    def price(*more: str) -> float:
        done = run("data", "stats", TRAIN, "--model", "gpt-4o-mini", "--json", *more)
        return float(only(done.rows)["cost"]["price"]["usd_per_million_tokens"])

    home = Path(os.environ["FTJOBS_HOME"])
    home.mkdir()
    (home / "prices.toml").write_text(PRICE)
    given = tmp_path / "given.toml"
    given.write_text(PRICE.replace("1000", "2000"))
    assert price() == 1000
    assert price("--prices", str(given)) == 2000


def test_a_malformed_price_file_is_an_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "given.toml"
    path.write_text(PRICE.replace("1000", "'a lot'"))
    done = run("data", "stats", TRAIN, "--model", "gpt-4o", "--prices", str(path))
    assert (done.code, done.out) == (2, "")
    assert "given.toml: price 1: usd_per_million_tokens" in done.err


def test_labels_are_shown_with_their_shares(run: Run, write: Write) -> None:
    done = run("data", "stats", write("yes", "yes", "yes", "no"))
    assert "answers: 2 labels" in done.out
    assert "3 (75%)" in done.out
    assert "1 (25%)" in done.out


def test_wide_labels_are_aligned(run: Run, write: Write) -> None:
    lines = run("data", "stats", write("はい", "はい", "no", "no")).out.splitlines()
    assert "    はい  ██████████████████████████████ 2 (50%)" in lines
    assert "    no    ██████████████████████████████ 2 (50%)" in lines


def test_labels_are_cleaned_and_hold_no_secret(run: Run, write: Write) -> None:
    key = "AKIA" + "Q7ZP2MXW4RT9LKDB"
    path = write(*[f"\x1b[31m{key}"] * 4)
    assert key not in run("data", "stats", path).out
    done = run("data", "stats", path, "--json")
    assert key not in done.out
    assert "\x1b" not in run("data", "stats", path).out


def test_roles_are_cleaned_and_hold_no_secret(run: Run, tmp_path: Path) -> None:
    key = "AKIA" + "Q7ZP2MXW4RT9LKDB"
    path = tmp_path / "data.jsonl"
    turns = [{"role": f"\x1b[31m{key}", "content": "x"}, {"role": "assistant", "content": "y"}]
    path.write_text(json.dumps({"messages": turns}) + "\n")
    for form in ((), ("--json",)):
        done = run("data", "stats", str(path), *form)
        assert key not in done.out
        assert "\x1b" not in done.out
    assert sorted(only(done.rows)["messages"].values()) == [1, 1]


@pytest.mark.parametrize("columns", [40, 200])
def test_bars_fit_the_terminal(
    run: Run, write: Write, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = run("data", "stats", write("yes", "yes", "yes", "no")).out
    bars = [line for line in out.splitlines() if "█" in line]
    assert bars
    assert max(map(len, bars)) <= columns


@pytest.mark.parametrize("option", [("--epochs", "3"), ("--prices", "p.toml")])
def test_options_about_the_cost_need_a_model(run: Run, option: tuple[str, str]) -> None:
    done = run("data", "stats", TRAIN, *option)
    assert done.code == 2
    assert "add --model" in done.err


def test_the_name_of_a_model_is_not_empty(run: Run) -> None:
    for command in ("stats", "check"):
        done = run("data", command, TRAIN, "--model", "")
        assert done.code == 2
        assert "--model is empty" in done.err


def test_what_is_cut_is_said(run: Run, write: Write, tiny_model: str) -> None:
    path = write("answer", question="q" * 600)
    done = run("data", "stats", path, "--model", tiny_model)
    assert "examples  1 too long" in done.out
    path = write("answer", question="word " * 100_000)
    done = run("data", "stats", path, "--model", "gpt-4o")
    assert "examples  1 cut, 1 of them in the answer" in done.out


def test_rows_that_are_no_examples_are_mentioned(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text(Path(TRAIN).read_text() + "{}\n")
    done = run("data", "stats", str(path))
    assert done.code == 0
    assert "rows        79" in done.out
    assert "1 rows are no examples" in done.err


def test_an_empty_file_is_a_page_of_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    done = run("data", "stats", str(path), "--model", "gpt-4o")
    assert done.code == 0
    assert "cost      about $0.00" in done.out


def test_many_files_are_many_pages(run: Run) -> None:
    done = run("data", "stats", TRAIN, TRAIN, "--json")
    assert [row["path"] for row in done.rows] == [TRAIN, TRAIN]


def test_a_missing_file_is_an_error(run: Run) -> None:
    done = run("data", "stats", "nothing.jsonl")
    assert done.code == 2
    assert "nothing.jsonl" in done.err
