"""`ftjobs chat`: one model, and several side by side."""

from __future__ import annotations

import fcntl
import struct
import termios
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from ftjobs.backends.base import Tools
from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.cli.conversation import Conversation
from ftjobs.cli.duet import Duet, drawn
from ftjobs.cli.sides import Side
from ftjobs.client import Client
from ftjobs.reports.cells import width
from ftjobs.schema import ChatMessage, Delta, Sampling
from tests import service
from tests.cli.conftest import Run
from tests.cli.terminal import Open

PLAIN = Sampling()
BOTH = ("chat", "--compare", "fake-base", "fake-tuned")  # the words of whoever asked for it


class Tandem(FakeBackend):
    """Two models, each of which says who it is once the other was asked too."""

    def __init__(self) -> None:
        super().__init__(
            models=("fake-base", "fake-tuned"), answers=lambda model, _: f"I am {model}"
        )
        self.meeting = threading.Barrier(2, timeout=20)

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = PLAIN,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        deltas = super().stream(model, messages, sampling=sampling)

        def met() -> Iterator[Delta]:
            self.meeting.wait()
            yield from deltas

        return met()


@pytest.fixture
def backend() -> FakeBackend:
    answers = {"q": "an \x1b[31manswer", "long": "word " * 5000, "none": ""}
    return FakeBackend(models=("fake-base", "fake-tuned"), answers=answers)


def test_both_models_of_a_service_answer_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTJOBS_API_KEY", service.KEY)
    with service.running(Tandem()) as running:
        assert main(["--backend", running.url, *BOTH, "q"]) == 0
    expected = "fake-base:\nI am fake-base\n\nfake-tuned:\nI am fake-tuned\n"
    assert capsys.readouterr().out == expected


def test_answers_come_in_the_order_of_the_line(run: Run) -> None:
    three = run("chat", "fake-tuned", "q", "--compare", "fake-base", "--compare", "fake-tuned")
    assert three.code == 0
    shown = "an answer\n"
    assert three.out == f"fake-base:\n{shown}\nfake-tuned:\n{shown}\nfake-tuned:\n{shown}"
    assert run(*BOTH, "none").out == "fake-base:\n(no text)\n\nfake-tuned:\n(no text)\n"


def test_one_completion_a_line(run: Run) -> None:
    found = run(*BOTH, "q", "--json", "--n", "2")
    assert [row["model"] for row in found.rows] == ["fake-base", "fake-tuned"]
    assert [len(row["choices"]) for row in found.rows] == [2, 2]
    assert found.code == 0


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_one_failure_leaves_the_other_answer(run: Run, how: tuple[str, ...]) -> None:
    for models in (("fake-none", "fake-base"), ("fake-base", "fake-none")):
        found = run("chat", "--compare", *models, "q", *how)
        assert found.code == 1
        assert "answer" in found.out
        assert "no model 'fake-none'" in found.err
        assert how or "fake-none:\n(failed: no model 'fake-none')\n" in found.out


def test_a_fault_of_our_own_is_no_answer(run: Run, backend: FakeBackend) -> None:
    backend.fail_next("stream", RuntimeError("a bug"))
    found = run(*BOTH, "q")
    assert found.code == 1
    assert "This is a bug in ftjobs" in found.err
    assert "an answer" in found.out
    backend.fail_next("stream", RuntimeError("a bug"))
    duet = Duet(
        [Conversation(Client(backend), name, PLAIN) for name in ("fake-base", "fake-tuned")]
    )
    with pytest.raises(RuntimeError):
        duet.answer("q")


def test_side_by_side_is_one_answer_a_model(run: Run) -> None:
    found = run(*BOTH, "q", "--n", "2")
    assert (found.code, found.out) == (2, "")
    assert "one answer" in found.err


@pytest.mark.parametrize("variable", ["GITHUB_ACTIONS", "TF_BUILD"])
def test_no_answer_of_many_commands_the_log(
    run: Run, monkeypatch: pytest.MonkeyPatch, backend: FakeBackend, variable: str
) -> None:
    backend._answers = {"q": "a\n::error::b ##vso[d] c"}
    monkeypatch.setenv(variable, "true")
    lines = run(*BOTH, "q").out.splitlines()
    assert lines.count(": :error::b ## vso[d] c") + lines.count(": :error::b ##vso [d] c") == 2


def test_an_escape_that_comes_in_two_pieces_shows_no_half_of_it(run: Run) -> None:
    class Split(FakeBackend):
        def stream(
            self,
            model: str,
            messages: Sequence[ChatMessage],
            *,
            sampling: Sampling = PLAIN,
            tools: Tools = (),
        ) -> Iterator[Delta]:
            return (Delta(content=char) for char in "\x1b]0;title\x07\x1b[31mred\x1b[0m 学習率\x1b")

    client = Client(Split())
    talk = Conversation(client, "fake-base", Sampling())
    shown: list[str] = []
    talk.ask("q", shown.append)
    assert "".join(shown) == "red 学習率"
    assert talk.turns[-1].content == "\x1b]0;title\x07\x1b[31mred\x1b[0m 学習率\x1b"


# --- what several models share, and what each has of its own ----------------------------------


def test_each_model_has_a_history_of_its_own(backend: FakeBackend) -> None:
    names = ("fake-base", "fake-none")
    duet = Duet([Conversation(Client(backend), name, Sampling()) for name in names])
    duet.answer("q")
    assert [len(talk.turns) for talk in duet.talks] == [2, 0]
    duet.system, duet.sampling = "Be brief.", Sampling(temperature=0)
    assert [(talk.system, talk.sampling.temperature) for talk in duet.talks] == [
        ("Be brief.", 0)
    ] * 2
    assert (duet.system, duet.sampling) == ("Be brief.", Sampling(temperature=0))
    duet.reset()
    assert [talk.turns for talk in duet.talks] == [[], []]


# --- columns -----------------------------------------------------------------------------------


def side(name: str, text: str, *, whole: bool = False) -> Side:
    talk = Conversation(Client(FakeBackend()), name, Sampling())
    return Side(talk, shown=[text], whole=whole)


def test_columns_stand_where_they_should_whatever_is_said() -> None:
    sides = [side("基礎" * 40, "学習率を下げる。" * 30, whole=True), side("tuned", "", whole=True)]
    head, *lines = drawn(sides, 100)
    assert width(head) == 99
    assert head.index("┬")
    places = {width(line.partition("│")[0]) for line in lines}
    assert places == {width(head.partition("┬")[0])}
    assert lines[0].endswith("│ (no text)")


def test_a_picture_shows_the_end_of_what_came() -> None:
    sides = [side("base", "".join(f"line {n}\n" for n in range(500))), side("tuned", "")]
    _head, *lines = drawn(sides, 100, most=10)
    assert [line.split(" ")[1] for line in lines] == [str(n) for n in range(491, 500)]
    assert "…" in lines[0]
    whole = list(drawn(sides, 100, stopped=True))
    assert len(whole) == 502
    assert whole[-1].startswith("(stopped)")


@pytest.mark.parametrize("columns", [1, 3, 4, 5, 9])
@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_terminal_with_no_room_gets_a_picture_too(columns: int, most: int) -> None:
    sides = [side("base", "words and 学習率 " * 9), side("tuned", "")]
    assert len(list(drawn(sides, columns, most=most))) <= most


def test_a_picture_of_a_long_answer_is_cheap() -> None:
    sides = [side("base", "word " * 200_000), side("tuned", "学" * 1_000_000)]
    began = time.process_time()
    for _ in range(5):
        assert len(list(drawn(sides, 160, most=50))) <= 50
    assert time.process_time() - began < 2.5


# --- on a terminal -----------------------------------------------------------------------------


def test_a_conversation_side_by_side(terminal: Open) -> None:
    screen = terminal("1", *BOTH)
    screen.read_until_prompt()
    assert "Talking with fake-base and fake-tuned." in screen.shown
    for line, reply in [
        ("hello", f"turns=1{' ' * 31} │ turns=1"),
        ("again", f"turns=3{' ' * 31} │ turns=3"),
        ("/system Be brief.", ""),
        ("split", "red 学習率"),
        ("more", f"turns=8{' ' * 31} │ turns=8"),
        ("/reset", "starts anew"),
        ("/set temperature 0.3", "temperature 0.3"),
        ("/set n 2", "one answer at a time"),
        ("last", f"turns=2{' ' * 31} │ turns=2"),
    ]:
        screen.type(line + "\n")
        screen.read_until(reply)
        screen.read_until_prompt()
        assert "title" not in screen.shown
        assert "31m" not in screen.shown
    screen.type("\x04")
    assert screen.wait() == 0


def test_settings_change_on_the_fly_and_ask_nothing(terminal: Open) -> None:
    screen = terminal("1", "chat", "fake-base", "--temperature", "0")
    screen.read_until_prompt()
    for line, reply in [
        ("--num_beams 4 --top_k 30", "temperature 0  top_k 30  num_beams 4\r\n(top_k changes"),
        ("how", 'drawn={"temperature": 0.0, "top_k": 30, "num_beams": 4}'),
        ("--num-beams=1 --temperature 0.5", "temperature 0.5  top_k 30  num_beams 1\r\n"),
        ("/set num_beams default top_k default", "temperature 0.5\r\n"),
        ("/set num_beams 3", "num_beams: beams are searched, not drawn"),
        ("--num_beam 3", "unknown setting 'num_beam' Did you mean num_beams?"),
        ("how", 'drawn={"temperature": 0.5}'),
        ("/settings", "Search with so many beams"),
        ("--temperature 0 is what?", "unknown setting 'is'"),
        ("--verbose is an option of what?", "turns=5"),
        ("/help", "--num_beams 4 --top_k 30"),
    ]:
        screen.type(line + "\n")
        screen.read_until(reply)
        screen.read_until_prompt()
    assert "turns" not in screen.shown
    screen.type("/exit\n")
    assert screen.wait() == 0


def test_ctrl_c_stops_the_answers_and_not_the_conversation(terminal: Open) -> None:
    screen = terminal("1", *BOTH)
    screen.read_until_prompt()
    screen.type("hang\n")
    screen.read_until("│ turns=1")  # drawn while it hangs
    screen.type("\x03")
    screen.read_until(f"{' ' * 38} │ (stopped)")
    screen.read_until_prompt()
    screen.type("hello\n")
    screen.read_until(f"turns=3{' ' * 31} │ turns=1")  # what was whole is remembered
    screen.read_until_prompt()
    screen.type("/exit\n")
    assert screen.wait() == 0
    assert "Traceback" not in screen.shown


def test_a_terminal_may_shrink_to_nothing_while_answers_come(terminal: Open) -> None:
    screen = terminal("1", *BOTH)
    screen.read_until_prompt()
    screen.type("hang\n")
    screen.read_until("│ turns=1")
    for size in ((24, 4), (1, 1), (24, 80)):
        fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        screen.shown = ""
        time.sleep(0.3)  # some pictures
    screen.type("\x03")
    screen.read_until(f"{' ' * 38} │ (stopped)")
    assert "Traceback" not in screen.shown


def test_a_narrow_terminal_shows_one_answer_after_the_other(terminal: Open) -> None:
    screen = terminal("1", *BOTH, "hang", columns=60)
    screen.read_until("fake-tuned:\r\nturns=1")
    assert "fake-base:\r\nturns=1\r\n\r\nfake-tuned:" in screen.shown
    screen.type("\x03")
    assert screen.wait() == 130
    assert screen.shown.rstrip() == "^C\r\n(stopped)"
