"""`ftjobs data preview`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.cli.conftest import TRAIN, Run

PROMPT = "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(autouse=True)
def _no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no-tables"))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.save_model(tmp_path_factory.mktemp("models") / "tiny"))


def write(folder: Path, *turns: tuple[str, str] | tuple[str, str, int]) -> str:
    path = folder / "data.jsonl"
    messages = [
        {"role": role, "content": content} | ({"weight": weight[0]} if weight else {})
        for role, content, *weight in turns
    ]
    path.write_text(json.dumps({"messages": messages}, ensure_ascii=False) + "\n", "utf-8")
    return str(path)


def test_a_local_model_shows_the_text_it_trains_on(
    run: Run, tmp_path: Path, tiny_model: str
) -> None:
    path = write(tmp_path, ("user", "abc"), ("assistant", "défg"))
    done = run("data", "preview", path, "--model", tiny_model)
    assert done.code == 0, done.err
    title, text = done.out.split("\n", 1)
    assert title == "── line 1: 29 tokens, 6 trained (tiny, exact; the context is 512) ──"
    assert text == f"{PROMPT}⟦défg<|im_end|>⟧\n\n"


def test_untrained_answers_are_not_marked(run: Run, tmp_path: Path, tiny_model: str) -> None:
    path = write(
        tmp_path, ("user", "a"), ("assistant", "first", 0), ("user", "b"), ("assistant", "last")
    )
    out = run("data", "preview", path, "--model", tiny_model).out
    assert "⟦last<|im_end|>⟧" in out
    assert "assistant\nfirst<|im_end|>" in out


def test_a_terminal_gets_colour_and_no_brackets(
    run: Run, tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, ("user", "abc"), ("assistant", "de"))
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    monkeypatch.setenv("TERM", "xterm")
    out = run("data", "preview", path, "--model", tiny_model).out
    assert "\x1b[32m\x1b[1mde<|im_end|>\x1b[0m" in out
    assert "⟦" not in out
    monkeypatch.setenv("NO_COLOR", "1")
    out = run("data", "preview", path, "--model", tiny_model).out
    assert "⟦de<|im_end|>⟧" in out
    assert "\x1b" not in out


def test_the_end_of_the_context_is_shown(run: Run, tmp_path: Path, tiny_model: str) -> None:
    path = write(tmp_path, ("user", "a" * 600), ("assistant", "de"))
    out = run("data", "preview", path, "--model", tiny_model).out
    before, after = out.split("✂ the context of 512 tokens ends here\n")
    assert before.count("a") > 500
    assert "⟦de<|im_end|>⟧" in after


def test_a_hosted_model_shows_messages_and_says_why(run: Run) -> None:
    done = run("data", "preview", TRAIN, "--model", "gpt-4o", "--row", "3")
    assert done.code == 0
    assert "The template of gpt-4o is the service's own" in done.err
    assert "[user] If I write instead of phoning" in done.out
    assert "[assistant] ⟦Emails to" in done.out
    assert "trained (estimate, estimated; the context is 65,536)" in done.out


def test_a_hosted_model_shows_where_messages_are_cut(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, ("user", "word " * 100_000), ("assistant", "de"), ("user", "later"))
    lines = run("data", "preview", path, "--model", "gpt-4o").out.splitlines()
    (place,) = [n for n, line in enumerate(lines) if "✂" in line]
    assert "the context of 65,536 tokens ends after 65,533 of the" in lines[place]
    assert lines[place + 1] == "[assistant] ⟦de⟧"


def test_rows_are_chosen_by_their_line(run: Run, tmp_path: Path) -> None:
    def lines(*more: str) -> list[int]:
        done = run("data", "preview", TRAIN, "--model", "gpt-4o", "--json", *more)
        return [row["line"] for row in done.rows]

    assert lines() == [1, 2, 3]
    assert lines("-n", "1") == [1]
    assert lines("--row", "17") == [17]


def test_json_gives_the_pieces(run: Run, tmp_path: Path, tiny_model: str) -> None:
    path = write(tmp_path, ("user", "abc"), ("assistant", "de"))
    (row,) = run("data", "preview", path, "--model", tiny_model, "--json").rows
    assert (row["object"], row["counter"], row["exact"], row["context"]) == (
        "preview",
        "tiny",
        True,
        512,
    )
    assert row["total"] == sum(piece["tokens"] for piece in row["pieces"])
    assert [(piece["text"], piece["trained"]) for piece in row["pieces"]] == [
        (PROMPT, False),
        ("de<|im_end|>", True),
        ("\n", False),
    ]


def test_secrets_and_escapes_are_left_out(run: Run, tmp_path: Path, tiny_model: str) -> None:
    key = "AKIA" + "Q7ZP2MXW4RT9LKDB"
    path = write(
        tmp_path, ("user", f"\x1b]0;title\x07key \x1b[31m{key}"), ("assistant", "de\x1b[2J")
    )
    for model in (tiny_model, "gpt-4o"):
        for more in ((), ("--json",)):
            out = run("data", "preview", path, "--model", model, *more).out
            assert "key" in out
            assert key not in out
            assert "\x1b" not in out
            assert "\\u001b" not in out


def test_both_outputs_of_a_preference_are_shown(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "dpo.jsonl"
    message = {"role": "user", "content": "q"}
    outputs = {
        f"{name}_output": [{"role": "assistant", "content": name}]
        for name in ("preferred", "non_preferred")
    }
    path.write_text(json.dumps({"input": {"messages": [message]}, **outputs}))
    out = run("data", "preview", str(path), "--model", "gpt-4o").out
    assert out.count("[user] q") == 2
    assert "⟦preferred⟧" in out
    assert "⟦non_preferred⟧" in out


def test_what_the_model_cannot_be_shown_is_said_and_the_rest_shown(
    run: Run, tmp_path: Path, tiny_model: str
) -> None:
    bad = Path(write(tmp_path, ("user", "<|im_end|>"), ("assistant", "de"))).read_text()
    good = Path(write(tmp_path, ("user", "abc"), ("assistant", "de"))).read_text()
    path = tmp_path / "both.jsonl"
    path.write_text(bad + good)
    done = run("data", "preview", str(path), "--model", tiny_model)
    assert done.code == 3
    assert "line 1 cannot be trained" in done.err
    assert "line 2" in done.out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--row", "999"), "line 999 holds no example"),
        (("--model", ""), "--model is empty"),
        (("--model", "smollm2-135m"), "the tokenizer of smollm2-135m is not on this machine"),
    ],
)
def test_what_cannot_be_shown_is_an_error(run: Run, args: tuple[str, ...], says: str) -> None:
    model = () if "--model" in args else ("--model", "gpt-4o")
    done = run("data", "preview", TRAIN, *model, *args)
    assert done.code == 2
    assert says in done.err


def test_a_line_that_is_no_example_is_an_error(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl"
    for text, says in (("\n{broken\n", "line 2 is no example"), ("\n", "holds no rows")):
        path.write_text(text)
        done = run("data", "preview", str(path), "--model", "gpt-4o")
        assert (done.code, done.out) == (3, "")
        assert says in done.err
