"""`ftjobs chat`: one question, a piped one, or a conversation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ftjobs.cli import fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, is_runner, say
from ftjobs.client import Client
from ftjobs.errors import ConfigError, FtjobsError
from ftjobs.jobs.fields import build
from ftjobs.reports.cells import clean
from ftjobs.schema import ChatMessage, Sampling

HELP = """\
/set NAME VALUE   change how answers are drawn, such as /set temperature 0.3
/set              show what is set
/system TEXT      tell the model who it is, from the next question on
/reset            forget the conversation
/help             this
/exit             leave (Ctrl-D too)"""

HISTORY = 1000  # lines


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

    def ask(self, question: str, write: Callable[[str], None]) -> None:
        """Stream the answer to `write`; the turn is remembered only if the answer is whole."""
        pieces = []
        asked = self.messages(question)
        for delta in self.client.stream(self.model, asked, sampling=self.sampling):
            if delta.index == 0:
                pieces.append(delta.content)
                write(clean(delta.content))
        answer = ChatMessage(role="assistant", content="".join(pieces))
        self.turns += [asked[-1], answer]

    def set(self, name: str, value: str) -> None:
        """Change one field of the sampling.  ConfigError if there is none, or it cannot be so."""
        if name == "n":
            raise ConfigError("a conversation takes one answer at a time")
        self.sampling = build(Sampling, {**self.sampling.model_dump(), name: value})


@click.command(cls=Command)
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--system", help="Who the model is: the first message.")
@fields.options(Sampling)
@json_option
@pass_app
def command(
    app: App,
    /,
    model: str,
    prompt: str | None,
    system: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Ask MODEL: a base model, a fine-tuned model or a checkpoint.

    ftjobs chat smollm2-135m "What is a checkpoint?" --temperature 0
    cat question.txt | ftjobs chat ft:smollm2-135m:local:support:a1b2c3d4
    ftjobs chat smollm2-135m               (a conversation; /help says more)
    """
    sampling = build(Sampling, fields.given(options, Sampling))
    talk = Conversation(app.client, model, sampling, system)
    if prompt is None and sys.stdin.isatty() and not as_json:
        with _history(app.settings.home / "chat_history"):
            _converse(talk)
        return
    try:
        question = sys.stdin.read() if prompt is None else prompt
    except UnicodeDecodeError:
        raise click.UsageError("the question is not UTF-8 text") from None
    if not question.strip():
        raise click.UsageError("there is no question: give PROMPT, or pipe one in")
    _answer_once(talk, question, as_json=as_json)


def _answer_once(talk: Conversation, question: str, *, as_json: bool) -> None:
    if not as_json and talk.sampling.n == 1:
        if is_runner(os.environ):  # a command could come in two pieces
            pieces: list[str] = []
            talk.ask(question, pieces.append)
            _write(_harmless("".join(pieces)))
        else:
            talk.ask(question, _write)
        click.echo()
        return
    messages = talk.messages(question)
    completion = talk.client.complete(talk.model, messages, sampling=talk.sampling)
    if as_json:
        emit(completion)
        return
    for choice in completion.choices:
        answer = clean(str(choice.message.content or ""))
        shown = _harmless(answer) if is_runner(os.environ) else answer
        click.echo(f"[{choice.index + 1}] {shown}")


def _harmless(answer: str) -> str:
    """An answer of which no line commands the log of a runner."""
    return "\n".join(map(clean_line, answer.split("\n")))


def _write(text: str) -> None:
    click.echo(text, nl=False)
    sys.stdout.flush()


def _converse(talk: Conversation) -> None:
    """Questions and answers until Ctrl-D.  Ctrl-C drops the line, or stops the answer."""
    say(f"Talking with {clean_line(talk.model)}. /help says what you can do; Ctrl-D leaves.")
    for line in _lines():
        try:
            if line.startswith("/"):
                if _obeyed(talk, line):
                    return
            elif line.strip():
                talk.ask(line, _write)
                click.echo()
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


def _obeyed(talk: Conversation, line: str) -> bool:
    """Do what a line that starts with "/" says; True if it says to leave."""
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if word == "/exit":
        return True
    if word == "/reset":
        talk.turns.clear()
        say("The conversation starts anew.")
    elif word == "/system":
        talk.system = rest or None
    elif word == "/set":
        _set(talk, rest.split(None, 1))
    else:
        say(HELP)
    return False


def _set(talk: Conversation, words: Sequence[str]) -> None:
    if len(words) == 1:
        raise ConfigError(f"/set {words[0]} lacks a value", hint="Such as /set temperature 0.3")
    if words:
        talk.set(words[0].replace("-", "_"), words[1])
    given = talk.sampling.model_dump(exclude_defaults=True)
    say("  ".join(f"{name} {value}" for name, value in given.items()) or "all defaults")


@contextmanager
def _history(path: Path) -> Iterator[None]:
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
