"""`ftjobs chat`: one question, a piped one, or a conversation, with one model or several."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from ftjobs.cli import fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.conversation import Conversation, converse, harmless, history, write
from ftjobs.cli.show import clean_line, emit, is_runner, say
from ftjobs.jobs.fields import build
from ftjobs.reports.cells import clean
from ftjobs.schema import Sampling

if TYPE_CHECKING:
    from ftjobs.cli.duet import Duet


@click.command(cls=Command)
@click.argument("model")
@click.argument("prompt", required=False)
@click.option("--system", help="Who the model is: the first message.")
@click.option(
    "--compare",
    "others",
    multiple=True,
    metavar="MODEL",
    help="Ask this model too, and show its answers on the left.  May be repeated.",
)
@fields.options(Sampling)
@json_option
@pass_app
def command(
    app: App,
    /,
    model: str,
    prompt: str | None,
    system: str | None,
    others: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Ask MODEL: a base model, a fine-tuned model or a checkpoint.

    ftjobs chat smollm2-135m "What is a checkpoint?" --temperature 0
    cat question.txt | ftjobs chat ft:smollm2-135m:local:support:a1b2c3d4
    ftjobs chat smollm2-135m               (a conversation; /help says more)
    ftjobs chat --compare smollm2-135m ft:smollm2-135m:…   (side by side)
    """
    sampling = build(Sampling, fields.given(options, Sampling))
    talks = [Conversation(app.client, name, sampling, system) for name in (*others, model)]
    if prompt is None and sys.stdin.isatty() and not as_json:
        _converse(app, talks)
        return
    question = _question(prompt)
    if others:
        _together(talks).answer_once(question, as_json=as_json)
    else:
        _answer_once(talks[0], question, as_json=as_json)


def _converse(app: App, talks: Sequence[Conversation]) -> None:
    names = " and ".join(clean_line(talk.model) for talk in talks)
    with history(app.settings.home / "chat_history"):
        say(f"Talking with {names}. /help says what you can do; Ctrl-D leaves.")
        converse(talks[0] if len(talks) == 1 else _together(talks))


def _together(talks: Sequence[Conversation]) -> Duet:
    from ftjobs.cli.duet import Duet

    return Duet(talks)


def _question(prompt: str | None) -> str:
    try:
        question = sys.stdin.read() if prompt is None else prompt
    except UnicodeDecodeError:
        raise click.UsageError("the question is not UTF-8 text") from None
    if not question.strip():
        raise click.UsageError("there is no question: give PROMPT, or pipe one in")
    return question


def _answer_once(talk: Conversation, question: str, *, as_json: bool) -> None:
    if not as_json and talk.sampling.n == 1:
        if is_runner(os.environ):  # a command could come in two pieces
            pieces: list[str] = []
            talk.ask(question, pieces.append)
            write(harmless("".join(pieces)))
        else:
            talk.ask(question, write)
        click.echo()
        return
    completion = talk.complete(question)
    if as_json:
        emit(completion)
        return
    for choice in completion.choices:
        answer = clean(str(choice.message.content or ""))
        shown = harmless(answer) if is_runner(os.environ) else answer
        click.echo(f"[{choice.index + 1}] {shown}")
