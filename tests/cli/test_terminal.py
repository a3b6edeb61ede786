"""What only a real (pseudo-)terminal shows: drawing, Ctrl-C, the interactive conversation."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.terminal import PROGRAM, Open

SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


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
    with prompts.open("w", encoding="utf-8") as file:
        for number in range(20_000):
            turns = [{"role": "user", "content": str(number)}]
            file.write(json.dumps({"messages": turns, "expected": "x"}) + "\n")
    models = ("--base", "fake-base", "--tuned", "fake-base", "--grader", "exact")
    screen = terminal("1", "compare", str(prompts), *models)
    screen.read_until("/20000")
    screen.process.send_signal(signal.SIGTERM)
    assert screen.wait() == -signal.SIGTERM
    assert screen.shown.rindex(SHOW_CURSOR) > screen.shown.rindex(HIDE_CURSOR)
