"""A conversation with one model, and the lines that steer it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import click

from ftjobs.cli.adjust import adjusted, in_force, is_adjustment, listing
from ftjobs.cli.escapes import Stream
from ftjobs.cli.show import clean_line, say
from ftjobs.client import Client
from ftjobs.errors import FtjobsError
from ftjobs.schema import ChatMessage, Completion, Sampling

HELP = """\
/set NAME VALUE     change how answers are drawn: /set num_beams 4 top_k 30
--NAME VALUE        the same: --num_beams 4 --top_k 30
/set NAME default   leave it to the model again
/set                show what is set
/settings           show what can be set, and what it does
/system TEXT        tell the model who it is, from the next question on
/reset              forget the conversation
/help               this
/exit               leave (Ctrl-D too)"""

HISTORY = 1000  # lines


class Talk(Protocol):
    """What a line can be said to: one model, or several."""

    sampling: Sampling
    system: str | None

    def answer(self, question: str) -> None:
        """Ask, and show the answer while it comes.  KeyboardInterrupt stops it."""
        ...

    def reset(self) -> None:
        """Forget what was said."""
        ...


@dataclass
class Conversation:
    """What was said so far, and how the next answer is drawn."""

    client: Client
    model: str
    sampling: Sampling
    system: str | None = None
    turns: list[ChatMessage] = field(default_factory=list)

    def messages(self, question: str) -> list[ChatMessage]:
        """The conversation with one more question."""
        start = [ChatMessage(role="system", content=self.system)] if self.system else []
        return [*start, *self.turns, ChatMessage(role="user", content=question)]

    def pieces(self, question: str) -> Iterator[str]:
        """The answer as it comes, not cleaned."""
        asked = self.messages(question)
        for delta in self.client.stream(self.model, asked, sampling=self.sampling):
            if delta.index == 0:
                yield delta.content

    def complete(self, question: str) -> Completion:
        """The whole answer, or `sampling.n` of them."""
        return self.client.complete(self.model, self.messages(question), sampling=self.sampling)

    def ask(self, question: str, write: Callable[[str], None]) -> None:
        """Stream the answer to `write`; the turn is remembered only if the answer is whole."""
        pieces: list[str] = []
        shown = Stream()
        for piece in self.pieces(question):
            pieces.append(piece)
            write(shown.feed(piece))
        write(shown.end())
        self.remember(question, "".join(pieces))

    def answer(self, question: str) -> None:
        """Ask, and print the answer while it comes."""
        self.ask(question, write)
        click.echo()

    def remember(self, question: str, answer: str) -> None:
        """Take a turn up, for the next question to follow."""
        self.turns += [
            ChatMessage(role="user", content=question),
            ChatMessage(role="assistant", content=answer),
        ]

    def reset(self) -> None:
        """Forget what was said."""
        self.turns.clear()


def write(text: str) -> None:
    """A piece of an answer, on standard output at once."""
    click.echo(text, nl=False)
    sys.stdout.flush()


def harmless(answer: str) -> str:
    """An answer of which no line commands the log of a runner."""
    return "\n".join(map(clean_line, answer.split("\n")))


def converse(talk: Talk) -> None:
    """Questions and answers until Ctrl-D.  Ctrl-C drops the line, or stops the answer."""
    for line in _lines():
        try:
            if line.startswith("/"):
                if _obeyed(talk, line):
                    return
            elif is_adjustment(line):
                _adjust(talk, line)
            elif line.strip():
                talk.answer(line)
        except KeyboardInterrupt:
            say("\n(stopped)")
        except FtjobsError as error:
            say(clean_line(str(error)))


def _lines() -> Iterator[str]:
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            click.echo()
        except UnicodeDecodeError:
            say("That was not UTF-8 text.")
        except EOFError:
            click.echo()
            return


def _obeyed(talk: Talk, line: str) -> bool:
    """Do what a line that starts with "/" says; True if it says to leave."""
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word == "/exit":
        return True
    if word == "/reset":
        talk.reset()
        say("The conversation starts anew.")
    elif word == "/system":
        talk.system = rest or None
    elif word == "/set":
        _adjust(talk, rest)
    elif word == "/settings":
        columns = shutil.get_terminal_size().columns
        say("\n".join(map(clean_line, listing(talk.sampling, columns))))
    else:
        say(HELP)
    return False


def _adjust(talk: Talk, line: str) -> None:
    """Change how answers are drawn, and say what is in force.

    Raises:
        ConfigError: there is no such setting, or it cannot be so; nothing is changed.
    """
    talk.sampling = adjusted(talk.sampling, line)
    say("\n".join(map(clean_line, in_force(talk.sampling).splitlines())))


@contextmanager
def history(path: Path) -> Iterator[None]:
    """Line editing, with the questions of earlier conversations; only this user may read them."""
    try:
        import readline
    except ImportError:  # Python built without it: input() alone still works
        yield
        return
    readline.set_history_length(HISTORY)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        readline.read_history_file(path)
    except OSError as error:
        say(clean_line(f"no history: {path}: {error.strerror}"))
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # a full disk loses the history, not the conversation
            readline.write_history_file(path)
