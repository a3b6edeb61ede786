"""`ftjobs data preview`."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.data.counting import base_of, is_local
from ftjobs.cli.show import can_redraw, clean_line, emit, say
from ftjobs.data.stats import lines_in
from ftjobs.data.tokens import (
    Count,
    TextCounter,
    TokenCounter,
    counter_for,
    images,
    is_trained,
    row_of,
    texts,
)
from ftjobs.errors import ConfigError, DatasetError, ExitCode, TrainingError
from ftjobs.reports.cells import clean
from ftjobs.schema import ChatMessage, Example


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of what a model reads.

    `role` is "" for a part of rendered text; `kept` are its tokens within the context.
    """

    role: str
    text: str
    tokens: int
    kept: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """An example, its line, and how it was counted."""

    line: int
    pieces: Sequence[Piece]
    count: Count
    counter: TokenCounter


Render = Callable[[Example], list[Piece]]


@click.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The base model that would be trained.")
@click.option("--row", type=click.IntRange(min=1), help="Show the example on this line.")
@click.option(
    "-n",
    "many",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Show so many examples from the start.",
)
@json_option
@click.pass_context
@pass_app
def command(
    app: App,
    context: click.Context,
    file: Path,
    model: str,
    row: int | None,
    many: int,
    as_json: bool,
) -> None:
    """Show examples of FILE as the model will read them, and which tokens are trained.

    ftjobs data preview train.jsonl --model smollm2-135m
    ftjobs data preview train.jsonl --model gpt-4o-mini --row 17

    Trained text is green on a terminal, and between ⟦ and ⟧ elsewhere.  For a local base model
    the text is that of its chat template, token for token; a hosted model's template is the
    service's own, so its messages are shown.  Secrets and personal data are left out.

    Exit code 3 if a line is no example, or the model cannot be shown it.
    """
    counter, render = _renderer(app, model)
    refused = False
    for number, line in _wanted(file, row, many):
        for example in _examples(file, number, line):
            try:
                shown = Shown(number, render(example), counter.count(example), counter)
            except TrainingError as error:
                refused = True
                say(clean_line(error.message))
            else:
                _emit(shown) if as_json else _show(shown)
    if refused:
        context.exit(ExitCode.DATASET)


def _wanted(file: Path, row: int | None, many: int) -> list[tuple[int, bytes]]:
    """The lines to show, with their numbers.

    Raises:
        ConfigError: there is no such line.
        DatasetError: the file holds none at all.
    """
    lines = lines_in(file)
    if row is not None:
        passed = itertools.dropwhile(lambda numbered: numbered[0] < row, lines)
        found = [numbered for numbered in itertools.islice(passed, 1) if numbered[0] == row]
    else:
        found = list(itertools.islice(lines, many))
    if not found and row is None:
        raise DatasetError(f"{file}: holds no rows", hint="Check the path.")
    if not found:
        raise ConfigError(f"{file}: line {row} holds no example", hint="Lines count from 1.")
    return found


def _examples(file: Path, number: int, line: bytes) -> tuple[Example, ...]:
    """The examples of a line: one, or two of a preference."""
    row = row_of(line, number)
    if row is None:
        raise DatasetError(
            f"{file}: line {number} is no example",
            hint=f"See why: ftjobs data check {clean_line(str(file))}",
        )
    return row.examples


# --- what there is to show --------------------------------------------------------------------


def _renderer(app: App, model: str) -> tuple[TokenCounter, Render]:
    """How the model counts, and the pieces of an example.

    Raises:
        ModelError: a local base model that is not on this machine.
    """
    if is_local(app, model):
        from ftjobs.backends.local.training import tokens

        local = tokens.counter_for(base_of(model), app.settings.cache)
        return local, lambda example: [
            Piece("", one.text, one.tokens, 0 if one.beyond else one.tokens, one.trained)
            for one in local.spans(example)
        ]
    counter = counter_for(model)
    say(f"The template of {clean_line(model)} is the service's own: the messages are shown.")
    return counter, lambda example: list(_messages(example, counter))


def _messages(example: Example, counter: TextCounter) -> Iterator[Piece]:
    end = 0
    head, *sizes = [round(size) for size in counter.sizes(example)]
    if example.tools:
        yield Piece("tools", f"{len(example.tools)} declared", head, head, trained=False)
    end += head
    for message, size in zip(example.messages, sizes, strict=True):
        kept = size if counter.context is None else min(size, max(0, counter.context - end))
        yield Piece(message.role, _said(message), size, kept, is_trained(message))
        end += size


def _said(message: ChatMessage) -> str:
    shown = images(message)
    pictures = [f"({shown} image{'' if shown == 1 else 's'})"] if shown else []
    return "\n".join([*filter(None, texts(message)), *pictures])


# --- how it is shown --------------------------------------------------------------------------


def _safe(text: str) -> str:
    from ftjobs.data.private import redact

    return redact(clean(text))  # in this order: an escape sequence may hide where a key begins


def _emit(shown: Shown) -> None:
    emit(
        {
            "object": "preview",
            "line": shown.line,
            "counter": shown.counter.name,
            "exact": shown.counter.exact,
            "context": shown.counter.context,
            **shown.count._asdict(),
            "pieces": [{**asdict(piece), "text": _safe(piece.text)} for piece in shown.pieces],
        }
    )


def _show(shown: Shown) -> None:
    click.echo(_title(shown))
    coloured = sys.stdout.isatty() and can_redraw(os.environ) and not os.environ.get("NO_COLOR")
    whole = True
    for piece in shown.pieces:
        if whole and not piece.kept and piece.tokens:
            click.echo(_end(shown, "here"))
            whole = False
        click.echo(_drawn(piece, coloured=coloured), nl=bool(piece.role))
        if whole and piece.kept < piece.tokens:
            click.echo(_end(shown, f"after {piece.kept:,} of the {piece.tokens:,} in this message"))
            whole = False
    click.echo()


def _end(shown: Shown, where: str) -> str:
    return f"\n✂ the context of {shown.counter.context:,} tokens ends {where}"


def _drawn(piece: Piece, *, coloured: bool) -> str:
    text = _safe(piece.text)
    if piece.trained:
        text = click.style(text, fg="green", bold=True) if coloured else f"⟦{text}⟧"
    return f"[{clean_line(piece.role)}] {text}" if piece.role else text


def _title(shown: Shown) -> str:
    counter, count = shown.counter, shown.count
    how = "exact" if counter.exact else "estimated"
    context = f"; the context is {counter.context:,}" if counter.context else ""
    text = f"line {shown.line}: {count.total:,} tokens, {count.answer:,} trained"
    return f"── {text} ({clean_line(counter.name)}, {how}{context}) ──"
