"""Answers of several models to one question, each coming in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ftjobs.cli.conversation import Conversation, harmless
from ftjobs.cli.escapes import Stream
from ftjobs.cli.show import clean_line
from ftjobs.schema import Completion

LOOK = 0.05  # seconds between two looks at an answer


@dataclass
class Side:
    """One model's answer, as far as it has come.  Written by one thread, read by others.

    Attributes:
        pieces: the answer as it is.
        shown: the same, harmless.
        problem: what ended it.
        whole: whether it came to its end.
        over: set when nothing more will come.
    """

    talk: Conversation
    pieces: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    completion: Completion | None = None
    problem: Exception | None = None
    whole: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The model's."""
        return clean_line(self.talk.model)

    def note(self, *, stopped: bool) -> str:
        """What is to be said beside the answer, if anything."""
        if self.problem is not None:
            return f"(failed: {harmless(str(self.problem))})"
        if stopped and not self.whole:
            return "(stopped)"
        says = any(map(str.strip, self.shown))
        return "" if says else "(no text)" if self.whole else "…"


Work = Callable[[Side, str, threading.Event], None]


@contextmanager
def answers(talks: Sequence[Conversation], question: str, work: Work) -> Iterator[list[Side]]:
    """Let all models answer at once, each in a thread, until the block ends.

    Then the whole answers are remembered.  Others are given up: their threads end with the next
    piece, and what it says goes nowhere.
    """
    stop = threading.Event()
    sides = [Side(talk) for talk in talks]
    for side in sides:
        threading.Thread(
            target=_run, args=(work, side, question, stop), name="ftjobs-chat", daemon=True
        ).start()
    try:
        yield sides
    finally:
        stop.set()
        for side in sides:
            if side.whole:
                side.talk.remember(question, "".join(side.pieces))


def _run(work: Work, side: Side, question: str, stop: threading.Event) -> None:
    try:
        work(side, question, stop)
    except Exception as error:  # noqa: BLE001 - shown, or raised, by the thread that waits
        side.problem = error
    finally:
        side.over.set()


def stream(side: Side, question: str, stop: threading.Event) -> None:
    """Take the answer piece by piece, until told to stop."""
    cleaned = Stream()
    for piece in side.talk.pieces(question):
        if stop.is_set():
            return
        side.pieces.append(piece)
        side.shown.append(cleaned.feed(piece))
    side.shown.append(cleaned.end())
    side.whole = True


def complete(side: Side, question: str, stop: threading.Event) -> None:  # noqa: ARG001 - Work
    """Take the whole answer, which nothing stops."""
    side.completion = side.talk.complete(question)


def wait(side: Side) -> None:
    """Return when the answer is over."""
    while not side.over.wait(LOOK):  # in short waits, so that Ctrl-C is heeded
        pass
