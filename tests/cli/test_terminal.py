"""What only a real (pseudo-)terminal shows: drawing, Ctrl-C, the interactive conversation."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "program.py"
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


class Terminal:
    """A program on a pseudo-terminal of its own, in its own session."""

    def __init__(self, *args: str, environ: dict[str, str], rows: int = 24) -> None:
        self.fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *args],
            stdin=child,
            stdout=child,
            stderr=child,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(child)
        self.shown = ""

    def read_until(self, text: str, seconds: float = 30) -> None:
        """Read until `text` was shown since the last call of `type`."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert self._read(end), f"{text!r} never came: {self.shown!r}"

    def read_until_prompt(self) -> None:
        """Read until the program waits for a line: only then are keys safe from Ctrl-C's flush."""
        end = time.monotonic() + 30
        while not self.shown.endswith("> "):
            assert self._read(end), f"no prompt: {self.shown!r}"

    def type(self, text: str) -> None:
        """Press keys."""
        self.shown = ""
        os.write(self.fd, text.encode())

    def wait(self) -> int:
        """The exit code, once everything was read."""
        end = time.monotonic() + 30
        while self._read(end):
            pass
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.fd)

    def _read(self, end: float) -> bool:
        if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # Linux: the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


Open = Callable[..., Terminal]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    passed = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV") if name in os.environ}
    return {
        **passed,
        "HOME": str(tmp_path),
        "FTJOBS_HOME": str(tmp_path / "home"),
        "CANCELLED": str(tmp_path / "cancelled"),
        "TERM": "xterm-256color",
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.fixture
def terminal(environ: dict[str, str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*args: str) -> Terminal:
        opened.append(Terminal(*args, environ=environ))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_ctrl_c_detaches_and_says_how_to_come_back(terminal: Open, environ: dict[str, str]) -> None:
    screen = terminal("1000", "--backend", "openai", "watch")
    screen.read_until("running")
    assert HIDE_CURSOR in screen.shown
    screen.type("\x03")
    assert screen.wait() == 130
    assert "job ftjob-fake0001 goes on" in screen.shown
    assert "ftjobs --backend openai watch ftjob-fake0001" in screen.shown
    assert "Traceback" not in screen.shown
    assert SHOW_CURSOR in screen.shown
    assert not Path(environ["CANCELLED"]).exists()


def test_sigterm_gives_the_terminal_back_and_leaves_the_job(
    terminal: Open, environ: dict[str, str]
) -> None:
    screen = terminal("1000", "watch")
    screen.read_until("running")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.wait() == -signal.SIGTERM
    assert SHOW_CURSOR in screen.shown
    assert not Path(environ["CANCELLED"]).exists()


def test_the_last_picture_stays(terminal: Open) -> None:
    screen = terminal("1", "watch")
    assert screen.wait() == 0
    last = screen.shown.rpartition("ftjob-fake0001")[2]
    assert "succeeded" in last
    assert "step 1/1" in last
    assert "The job has successfully completed" in last


def test_a_conversation(terminal: Open, tmp_path: Path) -> None:
    screen = terminal("1", "chat", "fake-base")
    screen.read_until_prompt()
    for line, reply in [
        ("hello", "turns=1"),
        ("again", "turns=3"),
        ("/system You are brief.", ""),
        ("more", "turns=6"),
        ("/reset", "starts anew"),
        ("/set temperature 0.3", "temperature 0.3"),
        ("/set temperature hot", "temperature: "),
        ("/set tempo 1", "unknown setting 'tempo'"),
        ("/set max-tokens", "lacks a value"),
        ("/set max-tokens 5", "max_tokens 5"),
        ("/set n 2", "one answer at a time"),
        ("/help", "/exit"),
        ("\x03", ""),
        ("last", "turns=2"),
    ]:
        if line == "\x03":
            time.sleep(0.2)  # readline shows its prompt a moment before it heeds signals
        screen.type(line + ("\n" if line != "\x03" else ""))
        screen.read_until(reply)
        screen.read_until_prompt()
    screen.type("/exit\n")
    assert screen.wait() == 0
    history = tmp_path / "home/chat_history"
    assert history.read_text("utf-8").splitlines()[:2] == ["hello", "again"]
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_d_leaves_a_conversation(terminal: Open) -> None:
    screen = terminal("1", "chat", "fake-base")
    screen.read_until_prompt()
    screen.type("\x04")
    assert screen.wait() == 0


def test_a_question_may_be_piped(environ: dict[str, str]) -> None:
    def chat(*args: str, said: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(PROGRAM), "1", "chat", "fake-base", *args]
        return subprocess.run(
            command, input=said, capture_output=True, text=True, env=environ, check=False
        )

    assert chat(said="hello").stdout == "turns=1\n"
    assert chat("--system", "Be brief.", said="hello").stdout == "turns=2\n"
    assert chat("--n", "2", said="hello").stdout == "[1] turns=1\n[2] turns=1\n"
    assert '"object":"chat.completion"' in chat("--json", said="hello").stdout
    nothing = chat(said=" \n")
    assert (nothing.returncode, nothing.stdout) == (2, "")


def test_a_terminated_command_gives_the_cursor_back(
    terminal: Open, environ: dict[str, str]
) -> None:
    prompts = Path(environ["HOME"]) / "many.jsonl"
    prompts.write_text('{"messages": [{"role": "user", "content": "x"}]}\n' * 30_000, "utf-8")
    models = ("--base", "fake-base", "--tuned", "fake-base", "--grader", "exact")
    screen = terminal("1", "compare", str(prompts), *models)
    screen.read_until("1%")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.wait() == -signal.SIGTERM
    assert screen.shown.rindex(SHOW_CURSOR) > screen.shown.rindex(HIDE_CURSOR)
