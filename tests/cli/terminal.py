"""A program on a pseudo-terminal, for tests of what only a terminal shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = Path(__file__).parent / "program.py"


class Terminal:
    """A program on a pseudo-terminal of its own, in its own session."""

    def __init__(
        self, *args: str, environ: dict[str, str], rows: int = 24, columns: int = 80
    ) -> None:
        self.fd, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
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
