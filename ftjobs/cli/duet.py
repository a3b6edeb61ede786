"""Several models answer one question at once, side by side while the answers come."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence

import click

from ftjobs.cli.conversation import Conversation, harmless, write
from ftjobs.cli.pair import abreast, column_width
from ftjobs.cli.show import can_redraw, emit, is_runner, terminated_cleanly
from ftjobs.cli.sides import LOOK, Side, answers, complete, stream, wait
from ftjobs.errors import ConfigError, FtjobsError
from ftjobs.reports.cells import wrap
from ftjobs.schema import Sampling

PER_SECOND = 8.0  # pictures
NARROWEST = 35  # columns of an answer; where there are fewer, the answers come in turn


class Duet:
    """A conversation with several models, each with a history of its own."""

    def __init__(self, talks: Sequence[Conversation]) -> None:
        self.talks = talks

    @property
    def sampling(self) -> Sampling:
        """How all answers are drawn."""
        return self.talks[0].sampling

    @sampling.setter
    def sampling(self, value: Sampling) -> None:
        for talk in self.talks:
            talk.sampling = value

    @property
    def system(self) -> str | None:
        """Who all models are told they are."""
        return self.talks[0].system

    @system.setter
    def system(self, value: str | None) -> None:
        for talk in self.talks:
            talk.system = value

    def reset(self) -> None:
        """Forget what was said."""
        for talk in self.talks:
            talk.reset()

    def answer(self, question: str) -> None:
        """Ask all, and show the answers while they come.  Ctrl-C stops those that still come."""
        sides, _interrupted = self._show(question)
        for side in sides:
            if not isinstance(side.problem, FtjobsError | None):
                raise side.problem  # a fault of ours, not of a model

    def answer_once(self, question: str, *, as_json: bool) -> None:
        """Ask all, and print the answers: as columns, in turn, or as one completion a line.

        Raises:
            FtjobsError: a model gave no answer; the others' are printed.
        """
        if as_json:
            sides = self._complete(question)
        elif self.sampling.n != 1:
            raise ConfigError(
                "side by side, each model gives one answer", hint="Leave --n out, or add --json."
            )
        else:
            sides, interrupted = self._show(question)
            if interrupted:
                raise KeyboardInterrupt
        for side in sides:
            if side.problem is not None:
                raise side.problem

    def _show(self, question: str) -> tuple[list[Side], bool]:
        """The answers, once they were shown, and whether Ctrl-C stopped them."""
        columns = shutil.get_terminal_size().columns
        draws = sys.stdout.isatty() and can_redraw(os.environ)
        beside = draws and column_width(len(self.talks), columns) >= NARROWEST
        interrupted = False
        with answers(self.talks, question, stream) as sides:
            try:
                _watch(sides) if beside else _InTurn(sides).run()
            except KeyboardInterrupt:
                interrupted = True
        return sides, interrupted

    def _complete(self, question: str) -> list[Side]:
        with answers(self.talks, question, complete) as sides:
            for side in sides:
                wait(side)
                if side.completion is not None:
                    emit(side.completion)
                    sys.stdout.flush()
        return sides


def _watch(sides: Sequence[Side]) -> None:
    """Draw the answers as columns until all are there; what stays is the whole of them."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    def picture() -> Text:
        columns, lines = shutil.get_terminal_size()
        text = "\n".join(drawn(sides, columns - 1, most=max(lines - 2, 1)))
        return Text(text, no_wrap=True, overflow="crop")

    stopped = True
    live = Live(
        console=Console(highlight=False),
        get_renderable=picture,
        refresh_per_second=PER_SECOND,
        transient=True,
        vertical_overflow="crop",
    )
    try:
        with terminated_cleanly(), live:
            for side in sides:
                wait(side)
        stopped = False
    finally:
        columns = shutil.get_terminal_size().columns
        click.echo("\n".join(drawn(sides, columns - 1, stopped=stopped)))


def drawn(
    sides: Sequence[Side], columns: int, *, most: int | None = None, stopped: bool = False
) -> Iterator[str]:
    """The answers as lines of columns, under the models' names.

    With `most`, the last lines of each that fit in so many rows: what came last is to be seen.
    """
    each = column_width(len(sides), columns)
    texts = []
    for side in sides:
        text = "".join(side.shown).strip("\n")
        if most is not None:
            text = _end(text, most * each)
        lines = wrap(text, each) if text else []
        if note := side.note(stopped=stopped):
            lines += wrap(note, each)
        texts.append(lines if most is None else lines[max(len(lines) - most + 1, 0) :])
    yield from abreast([side.name for side in sides], texts, columns)


def _end(text: str, most: int) -> str:
    """The last `most` characters or some more; it moves on by leaps, so that lines stay put."""
    return text[max(0, len(text) - most) // most * most :]


class _InTurn:
    """Prints answers one after the other; the later ones come meanwhile, too."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self._left = list(sides)
        self._printed = 0  # pieces of the first one's
        self._at_once = is_runner(os.environ)  # a command could come in two pieces

    def run(self) -> None:
        """Print until all are there.  KeyboardInterrupt prints what came of those left."""
        stopped = True
        try:
            while self._left:
                self._name()
                while not self._left[0].over.wait(LOOK):
                    if not self._at_once:
                        self._print()
                self._finish()
            stopped = False
        finally:
            if stopped:
                self._give_up()

    def _name(self) -> None:
        click.echo(f"{self._left[0].name}:")

    def _print(self) -> None:
        new = self._left[0].shown[self._printed :]
        self._printed += len(new)
        text = "".join(new)
        write(harmless(text) if self._at_once else text)

    def _finish(self, *, stopped: bool = False) -> None:
        self._print()
        side = self._left.pop(0)
        self._printed = 0
        if any(side.shown):
            click.echo()
        if note := side.note(stopped=stopped):
            click.echo(note)
        if self._left:
            click.echo()

    def _give_up(self) -> None:
        if not any(self._left[0].shown):
            click.echo()  # behind the terminal's ^C
        self._finish(stopped=True)
        while self._left:
            self._name()
            self._finish(stopped=True)
