"""`ftjobs vote`: blind choices on a terminal, and what they come to."""

from __future__ import annotations

import fcntl
import json
import math
import re
import signal
import struct
import termios
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli.pair import SIDE_BY_SIDE, View, page
from ftjobs.cli.vote import _name, read_comparison
from ftjobs.evals.result import Comparison, Grading, Row
from ftjobs.evals.votes import ballot, comparison_id, read_votes, seats
from ftjobs.reports.cells import width
from ftjobs.schema import Model
from tests.cli.conftest import Run
from tests.cli.terminal import Open, Terminal
from tests.evals.test_votes import comparison, row, vote

EVIL = "\x1b[2J\x1b]0;title\x07\u202eevil\x9b31m"


def judged(number: int, **more: Any) -> Row:
    preference = {"arm_first": "arm", "baseline_first": "arm"}
    judges = {"judge": {"tuned": [preference]}}
    more = {"base": f"old words {number}", "tuned": f"new words {number}", **more}
    return row(number, preferences=judges, expected=f"wanted {number}", **more)


RESULT = comparison(*map(judged, range(1, 5)), judged(5, base="same", tuned="same")).model_copy(
    update={"graders": (Grading(name="judge", kind="preference"),)}
)
NAME = comparison_id(RESULT)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    return written(tmp_path / "result.json", RESULT)


def written(path: Path, one: Comparison) -> Path:
    path.write_text(one.model_dump_json(), "utf-8")
    return path


def key_for(number: int, winner: str) -> str:
    """The key that makes `winner` win on a row."""
    if winner == "tie":
        return "t"
    return "a" if seats(NAME, number, 0) == (winner == "arm") else "b"


def shown_row(screen: Terminal) -> int:
    """The row on the screen, once it is there as a whole."""
    screen.read_until("q leave")
    return int(re.findall(r"question (\d+)", screen.shown)[-1])


def choose(screen: Terminal, winner: str) -> int:
    number = shown_row(screen)
    screen.type(key_for(number, winner))
    return number


# --- on a terminal -----------------------------------------------------------------------------


def test_choices_are_kept_one_by_one_and_nothing_is_revealed(terminal: Open, result: Path) -> None:
    votes = result.with_name("result.votes.jsonl")
    screen = terminal("1", "vote", str(result), "--voter", "mika")
    turns = [each.number for each in ballot(RESULT, "tuned")]
    for place, winner in enumerate(["arm", "baseline", "tie", "arm"]):
        assert shown_row(screen) == turns[place]
        assert not re.search(r"tuned|base|wanted|judge", screen.shown)
        assert choose(screen, winner) == turns[place]
    screen.read_until("last pair")
    assert [v.winner for v in read_votes(votes)] == ["arm", "baseline", "tie", "arm"]
    screen.type("q")
    assert screen.wait() == 0
    text = " ".join(screen.shown.split())
    assert "tuned against base" in text
    assert "rows 4 of 4 (mika 4)" in text
    assert "win rate 62.5%, 95% interval " in text
    assert "2 won, 1 tied, 1 lost left out 1 row with equal answers" in text
    assert re.search(r"mika judge 4 50\.0%", text)


def test_whoever_leaves_goes_on_later(terminal: Open, result: Path) -> None:
    first = terminal("1", "vote", str(result), "--voter", "mika")
    number = choose(first, "arm")
    shown_row(first)
    first.type("q")
    assert first.wait() == 0
    second = terminal("1", "vote", str(result), "--voter", "mika")
    assert shown_row(second) != number
    second.type("\x03")
    assert second.wait() == 130
    assert "choices are kept in" in second.shown
    assert "Traceback" not in second.shown
    votes = read_votes(result.with_name("result.votes.jsonl"))
    assert [v.row for v in votes] == [number]
    third = terminal("1", "vote", str(result), "--voter", "ken")
    assert shown_row(third) == number


def test_a_choice_can_be_taken_back_even_the_last(terminal: Open, result: Path) -> None:
    screen = terminal("1", "vote", str(result), "--voter", "mika")
    shown_row(screen)
    screen.type("u")
    screen.read_until("no choice of this session")
    screen.type("a")  # goes on, and votes for nobody
    numbers = [choose(screen, "arm") for _ in range(3)]
    shown_row(screen)
    screen.type("u")
    assert shown_row(screen) == numbers[2]
    screen.type("s")
    shown_row(screen)
    screen.type("u")
    assert choose(screen, "tie") == numbers[2]
    numbers.append(choose(screen, "baseline"))
    screen.read_until("last pair")
    screen.type("u")
    assert choose(screen, "tie") == numbers[3]
    screen.read_until("last pair")
    screen.type("\r")
    assert screen.wait() == 0
    cast = {v.row: v.winner for v in read_votes(result.with_name("result.votes.jsonl"))}
    assert cast == dict.fromkeys(numbers[:2], "arm") | dict.fromkeys(numbers[2:], "tie")


def test_keys_that_decide_nothing(terminal: Open, tmp_path: Path) -> None:
    long = "".join(f"line {n}\n" for n in range(60))
    prompt = [{"role": "user", "content": f"first {long} question 1"}]
    path = written(tmp_path / "r.json", comparison(judged(1, tuned=long, messages=prompt)))
    screen = terminal("1", "vote", str(path), "--voter", "mika")
    for key, reply in [
        ("", "above: p shows them"),
        ("p", "user: first line 0"),
        (" ", "line 35"),
        ("\x1b[A", "user: first line 0"),
        ("p", "above: p shows them"),
        ("e", "expected: wanted 1"),
        ("?", "a        the answer A"),
        ("a", "q leave"),  # leaves the help, and votes for nobody
        ("aab", ""),  # several at once vote for nobody either
        ("e", "q leave"),
    ]:
        if key:
            screen.type(key)
        screen.read_until(reply)
        screen.read_until("goes on" if key == "?" else "q leave")
    screen.type("\x04")
    assert screen.wait() == 0
    assert read_votes(tmp_path / "r.votes.jsonl") == []


def test_a_terminal_of_another_size_is_drawn_anew(terminal: Open, result: Path) -> None:
    screen = terminal("1", "vote", str(result), rows=5, columns=20)
    screen.read_until("t tie")
    assert screen.shown.count("\n") < 5
    screen.shown = ""
    fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    shown_row(screen)
    assert "─┬─" in screen.shown


def test_after_ctrl_z_keys_are_read_again(terminal: Open, result: Path) -> None:
    screen = terminal("1", "vote", str(result))
    number = shown_row(screen)
    # Where there is no shell to go back to, Ctrl-Z does nothing; so this is what one would do.
    screen.process.send_signal(signal.SIGSTOP)
    mode = termios.tcgetattr(screen.fd)
    mode[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(screen.fd, termios.TCSANOW, mode)
    screen.shown = ""
    screen.process.send_signal(signal.SIGCONT)
    assert shown_row(screen) == number
    assert choose(screen, "arm") == number
    assert shown_row(screen) != number


def test_sigterm_leaves_the_terminal_and_the_votes_as_they_were(
    terminal: Open, result: Path
) -> None:
    screen = terminal("1", "vote", str(result), "--voter", "mika")
    before = termios.tcgetattr(screen.fd)
    number = choose(screen, "arm")
    shown_row(screen)
    assert termios.tcgetattr(screen.fd) != before  # a key is being read
    screen.process.send_signal(signal.SIGTERM)
    assert screen.process.wait(30) == -signal.SIGTERM
    assert termios.tcgetattr(screen.fd) == before
    votes = read_votes(result.with_name("result.votes.jsonl"))
    assert [v.row for v in votes] == [number]


def test_all_was_voted_on_already(terminal: Open, result: Path) -> None:
    path = result.with_name("page.jsonl")
    votes = [vote(each.number, comparison=NAME) for each in RESULT.rows]
    path.write_bytes(b"".join(each.line() for each in votes))
    screen = terminal("1", "vote", str(result), "--voter", "mika", "--votes", str(path))
    assert screen.wait() == 0
    assert "win rate  100.0%" in screen.shown
    assert "q leave" not in screen.shown


# --- what is drawn -----------------------------------------------------------------------------


@given(
    st.lists(st.text(max_size=300), min_size=3, max_size=3),
    st.integers(20, 160),
    st.integers(4, 60),
    st.booleans(),
)
def test_a_page_keeps_within_the_terminal(
    texts: list[str], columns: int, room: int, whole: bool
) -> None:
    asked, base, tuned = (f"{text}学習率 {EVIL} 👍🏽e\u0301" for text in texts)
    one = row(1, base, tuned, messages=[{"role": "user", "content": asked}])
    answers = (one.answers["base"][0], one.answers["tuned"][0])
    lines = page(one, answers, View(whole_prompt=whole, expected=True), columns, room)
    assert all(width(line) <= columns for line in lines)
    assert not any(set(line) & {"\x1b", "\x9b", "\u202e", "\x07", "\n"} for line in lines)
    assert all("│" in line for line in lines[-1:]) or columns < SIDE_BY_SIDE or "┬" in lines[-1]


def test_narrow_terminals_get_one_answer_under_the_other() -> None:
    one = row(1, "old", "new")
    answers = (one.answers["base"][0], one.answers["tuned"][0])
    wide = page(one, answers, View(), SIDE_BY_SIDE, 20)
    narrow = page(one, answers, View(), SIDE_BY_SIDE - 1, 20)
    assert wide[-1].split() == ["old", "│", "new"]
    assert [line.rstrip("─ ") for line in narrow[-4:]] == ["── A", "old", "── B", "new"]


def test_calls_parts_and_cut_answers_are_told() -> None:
    call = {"function": {"name": "find", "arguments": '{"id": 1}'}}
    given = [{"text": "", "tool_calls": [call, {"odd": 1}], "finish_reason": "length"}]
    parts = [{"type": "text", "text": "see "}, {"type": "image_url"}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "ok"},
    ]
    one = row(1, answers={"base": given, "tuned": [{}]}, messages=messages)
    answers = (one.answers["base"][0], one.answers["tuned"][0])
    assert page(one, answers, View(), 60, 40) == [
        "user: see (image_url)",
        'assistant: [calls find({"id": 1})]',
        "tool: ok",
        f"── A {'─' * 55}",
        '[calls find({"id": 1})]',
        '[calls {"odd":1}]',
        "[cut short]",
        f"── B {'─' * 55}",
        "(no text)",
    ]


# --- off a terminal ----------------------------------------------------------------------------


def test_votes_are_counted_without_a_terminal(run: Run, result: Path) -> None:
    path = result.with_name("exported.jsonl")
    votes = [vote(n, comparison=NAME) for n in (1, 2, 3)] + [vote(1), vote(2, voter="ken\x1b[2J")]
    votes.append(vote(2, "baseline", "ken\x1b[2J", comparison=NAME))
    path.write_bytes(b"".join(each.line() for each in votes))
    plain = run("vote", str(result), "--votes", str(path))
    assert plain.code == 0
    assert "2 votes on other answers" in plain.err
    assert "rows      3 of 4 (ken 1, mika 3)" in plain.out
    assert re.search(r"ken +judge +1 +0\.0%", plain.out)
    assert re.search(r"mika +judge +3 +100\.0% *\n", plain.out)  # one choice throughout: no kappa
    assert "\x1b" not in plain.out
    (found,) = run("vote", str(result), "--votes", str(path), "--json").rows
    assert (found["object"], found["comparison"], found["rows"]) == ("vote.tally", NAME, 3)
    assert found["win_rate"] == pytest.approx(2.5 / 3)
    assert [each["kappa"] for each in found["agreements"]] == [0.0, None, 0.0]


def test_the_interval_is_called_what_it_is(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path / "r.json", RESULT.model_copy(update={"confidence": 0.999}))
    path.with_suffix(".votes.jsonl").write_bytes(vote(1, comparison=NAME).line())
    told = run("vote", str(path)).out
    assert "99.9% interval" in told
    assert "100% interval" not in told


def test_what_compare_wrote_can_be_voted_on(run: Run, backend: FakeBackend, tmp_path: Path) -> None:
    backend._answers = lambda model, messages: f"{model} says \ud83d {messages[-1].content}"
    backend._models["fake-tuned"] = Model(id="fake-tuned")
    asked = {"messages": [{"role": "user", "content": "q 学"}], "expected": "a"}
    Path("eval.jsonl").write_text(json.dumps(asked), "utf-8")
    models = ("--base", "fake-base", "--tuned", "fake-tuned", "--gate", "none")
    assert run("compare", "eval.jsonl", *models, "-o", "r.json").code == 0
    name = comparison_id(read_comparison(Path("r.json")))
    Path("r.votes.jsonl").write_bytes(vote(1, comparison=name).line())
    found = run("vote", "r.json")
    assert (found.code, found.err) == (0, "")
    assert "rows      1 of 1 (mika 1)" in found.out


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "there are no votes yet"),
        (["--arm", "x"], "there are no votes yet"),
        (["--votes", "torn.jsonl", "--arm", "x"], "no arm 'x'"),
        (["--votes", "torn.jsonl", "--set", "x"], "no row in the set 'x'"),
        (["--votes", "result.json"], "result.json:1: not a vote"),
    ],
)
def test_what_cannot_be_counted(run: Run, result: Path, args: list[str], words: str) -> None:
    result.with_name("torn.jsonl").write_bytes(vote(1).line()[:20])
    found = run("vote", str(result), *args)
    assert (found.code, found.out) == (2, "")
    assert words in found.err


def changed(**fields: object) -> bytes:
    return json.dumps(RESULT.model_dump() | fields).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a comparison: Invalid JSON"),
        (b'{"object": "comparison", "secret": 1}', "not a comparison: created: Field required"),
        (RESULT.model_dump_json().replace("old words", "\\ud800").encode(), "not a comparison"),
        (changed(confidence=1), "confidence: Input should be less than 1"),
        (changed(confidence=math.nan), "confidence: Input should be a finite number"),
        (changed(seed=-1), "seed: Input should be greater than or equal to 0"),
        (changed(seed=10**30, created=-(10**30)), "there are no votes yet"),
        (changed(rows=[{**judged(1).model_dump(), "number": 0}]), "rows/0/number: Input should"),
        (changed(rows=[judged(1).model_dump()] * 2), "two rows have one number"),
        (changed(arms=[{"name": "a", "model": "m"}] * 2), "two arms have one name"),
        (changed(arms=[{"name": "a", "model": "m", "usd": -1}]), "arms/0/usd: Input should"),
        (b"[" * 100_000, "not a comparison: Invalid JSON"),
        (None, "cannot read"),
    ],
)
def test_what_is_no_result(run: Run, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    found = run("vote", str(path))
    assert (found.code, found.out) == (2, "")
    assert words in found.err
    assert "1}" not in found.err


def test_one_arm_leaves_no_choice(run: Run, tmp_path: Path) -> None:
    path = written(
        tmp_path / "r.json", comparison(row(1)).model_copy(update={"arms": RESULT.arms[:1]})
    )
    assert "one arm" in run("vote", str(path)).err


@pytest.mark.parametrize("name", [" ", "x" * 201])
def test_a_voter_has_a_name(name: str) -> None:
    with pytest.raises(click.UsageError, match="1 to 200 characters"):
        _name(name)


def test_a_voter_has_a_name_that_a_file_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _name(" mika\udcff") == "mika?"
    monkeypatch.setenv("LOGNAME", "ken")
    assert _name(None) == "ken"
