"""Blind voting in a terminal: two answers, one key, the next two.

Every vote is on the disk before the next pair is shown.  Nothing says whose answer is whose.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

import click

from ftjobs.cli.pair import View, page
from ftjobs.evals.result import Comparison, Row, Winner
from ftjobs.evals.votes import Vote, VoteFile, comparison_id, seats
from ftjobs.reports.cells import cut
from ftjobs.reports.words import many

KEYS = "a b better  t tie  s skip  u undo  ? help  q leave"
HELP = """\
a        the answer A (the left or upper one) is better
b        the answer B is better
t        neither is better
s        decide on this one another time
u        take the last choice back, and show it again
space ↓  show what follows, where it does not fit; ↑ goes back
p        show the whole of a long prompt, or its end
e        show what the prompt file expects, or hide it
q        leave; all choices are kept (Ctrl-C too)"""

LOOK = 0.2  # seconds between two looks at the terminal

FORWARD, BACK = (" ", "\x1b[B", "\x1b[6~", "\x1bOB"), ("\x1b[A", "\x1b[5~", "\x1bOA")


@dataclass
class Booth:
    """One voter's way through the rows.

    Args:
        comparison: what is voted on.
        arm: who is held against the baseline.
        rows: those that this voter has not voted on, in the order to show them.
        votes: where choices are kept.
        voter: who chooses.
    """

    comparison: Comparison
    arm: str
    rows: Sequence[Row]
    votes: VoteFile
    voter: str
    place: int = 0
    _name: str = ""
    _page: tuple[tuple[int, ...], list[str]] | None = None
    _past: list[tuple[int, bool]] = field(default_factory=list)  # (place, whether voted)

    def __post_init__(self) -> None:
        self._name = comparison_id(self.comparison)

    def run(self) -> None:
        """Show pair after pair, until the last one or until the voter leaves."""
        with _keyboard():
            while self._step():
                pass
        click.clear()

    def _step(self) -> bool:
        """One pair, or the end; False to leave."""
        if self.place == len(self.rows):
            return self._ends()
        return self._ask(self.rows[self.place])

    def _ends(self) -> bool:
        """Ask once more, so that the last choice can be taken back; False to leave."""
        if not self._past:
            return False
        while True:
            size = _clear()
            click.echo("That was the last pair.  u takes the last choice back, q shows the result.")
            key = _key(size)
            if key in ("q", "\r", "\n"):
                return False
            if key == "u":
                self._undo()
                return True

    def _ask(self, row: Row) -> bool:
        """Show a pair until a key decides; False to leave."""
        view = View()
        arm_first = seats(self._name, row.number, self.comparison.seed)
        while True:
            key = _key(self._draw(row, view, arm_first=arm_first))
            if key in ("a", "b", "t"):
                self._choose(row, _winner(key, arm_first=arm_first))
                return True
            if key == "s":
                self._past.append((self.place, False))
                self.place += 1
                return True
            if key == "q":
                return False
            if key == "u":
                if self._undo():
                    return True
                _tell("There is no choice of this session to take back.")
            elif key == "?":
                _tell(HELP)
            else:
                _look(view, key)

    def _choose(self, row: Row, winner: Winner) -> None:
        names = {"arm": self.arm, "baseline": self.comparison.baseline, "voter": self.voter}
        at = int(time.time())
        self.votes.add(Vote(comparison=self._name, row=row.number, winner=winner, at=at, **names))
        self._past.append((self.place, True))
        self.place += 1

    def _undo(self) -> bool:
        """Go back to the last pair; False if there is none."""
        if not self._past:
            return False
        self.place, voted = self._past.pop()
        if voted:
            self.votes.take_back()
        return True

    def _draw(self, row: Row, view: View, *, arm_first: bool) -> os.terminal_size:
        """Show a pair; the size that the terminal had."""
        columns, lines = size = shutil.get_terminal_size()
        columns, room = max(columns, 20), max(lines - 4, 1)
        body = self._body(row, view, columns, room, arm_first=arm_first)
        view.top = max(0, min(view.top, len(body) - room))
        shown = body[view.top : view.top + room]
        left = len(body) - view.top - len(shown)
        more = f"   {many(left, 'line')} below: space" if left else ""
        _clear()
        click.echo(cut(f"{self.place + 1} of {len(self.rows)}{more}", columns))
        click.echo("\n".join(shown))
        click.echo(f"\n{cut(KEYS, columns)}", nl=False)
        sys.stdout.flush()
        return size

    def _body(self, row: Row, view: View, columns: int, room: int, *, arm_first: bool) -> list[str]:
        """The pair's lines; kept, for long answers are not laid out in a moment."""
        key = (row.number, columns, room, view.whole_prompt, view.expected)
        if self._page is None or self._page[0] != key:
            names = (self.arm, self.comparison.baseline)
            first, second = (row.answers[name][0] for name in (names if arm_first else names[::-1]))
            self._page = key, page(row, (first, second), view, columns, room)
        return self._page[1]


def _winner(key: str, *, arm_first: bool) -> Winner:
    if key == "t":
        return "tie"
    return "arm" if (key == "a") == arm_first else "baseline"


def _look(view: View, key: str) -> None:
    """What keys do that decide nothing."""
    step = max(shutil.get_terminal_size().lines - 6, 1)
    if key in FORWARD:
        view.top += step
    elif key in BACK:
        view.top -= step
    elif key == "p":
        view.whole_prompt, view.top = not view.whole_prompt, 0
    elif key == "e":
        view.expected, view.top = not view.expected, 0


def _tell(text: str) -> None:
    """Show a text until a key is pressed, which does nothing else."""
    size = _clear()
    click.echo(f"{text}\n\nAny key goes on.")
    _key(size)


def _clear() -> os.terminal_size:
    """Begin a screen of this size; keys that were pressed before it can be seen do not count."""
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    click.clear()
    return shutil.get_terminal_size()


def _key(drawn: os.terminal_size) -> str:
    """One key, or "" for several at once, such as a paste: those must not vote.

    And "" once the screen, which was `drawn` at that size, has to be drawn anew.
    """
    while not select.select([sys.stdin], [], [], LOOK)[0]:
        if shutil.get_terminal_size() != drawn:
            return ""
        if termios.tcgetattr(sys.stdin)[3] & termios.ICANON:  # a shell had it, after Ctrl-Z
            tty.setcbreak(sys.stdin)
            return ""
    key = os.read(sys.stdin.fileno(), 64).decode(errors="replace")
    if key in ("", "\x04"):  # the terminal has gone, or Ctrl-D
        return "q"
    return key.lower() if len(key) == 1 else key if key in FORWARD + BACK else ""


@contextmanager
def _keyboard() -> Iterator[None]:
    """Let keys come one by one, unseen; the terminal is given back, after SIGTERM too."""
    found = termios.tcgetattr(sys.stdin)

    def leave(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, found)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, found)
        signal.signal(signal.SIGTERM, previous)
