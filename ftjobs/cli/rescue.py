"""`ftjobs rescue`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ftjobs.cli import fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.meter import meter
from ftjobs.cli.show import clean_line, emit, say
from ftjobs.errors import BackendError, ConfigError, ExitCode
from ftjobs.evals import read_prompts
from ftjobs.evals.answers import StoredAnswer, read_answers
from ftjobs.evals.distill import distill, require_replaceable
from ftjobs.evals.rescue import LIKELIEST, Rescue, rescue, shutdown_date, with_system
from ftjobs.jobs.fields import build
from ftjobs.schema import Sampling

FAILURES = 10  # printed


@click.command(cls=Command)
@click.argument("model")
@click.argument("prompts", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    required=True,
    help="Where answers are stored; those already there are kept.",
)
@click.option("--system", metavar="TEXT", help="For prompts without a system message.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Ask at most N prompts this time."
)
@click.option(
    "--distill",
    "train",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a training file of prompts and answers too.",
)
@fields.options(Sampling)
@json_option
@pass_app
def command(
    app: App,
    /,
    model: str,
    prompts: Path,
    out: Path,
    system: str | None,
    limit: int | None,
    train: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Store MODEL's answers to the prompts of a file, before it is shut down.

    ftjobs --backend openai rescue ft:gpt-4o-mini:… eval.jsonl -o answers.jsonl

    A line of PROMPTS is {"messages": [...], "expected": "..."}; a chat dataset will do as it is.
    The answers are greedy (temperature 0) unless you say otherwise.  Run it again to go on: only
    what is missing is asked.

    Exit code 1 if a prompt got no answer.
    """
    sampling = _sampling(options)
    asked = read_prompts(prompts)
    asked = asked if system is None else with_system(asked, system)
    if train is not None:
        _require_free(train, out)
    _say_shutdown(app, model)
    with meter("Asking") as move:
        done = rescue(
            app.client.backend,
            model,
            asked,
            out,
            sampling=sampling,
            limit=limit,
            progress=lambda answers, wanted, tokens: move(answers, wanted, f"{tokens:,} tokens"),
        )
    made = None if train is None else distill(_chosen(out, done), train)
    if as_json:
        _emit(done, made)
    else:
        _show(out, done, train, made)
    return ExitCode.FAILED if done.failures else ExitCode.OK


def _sampling(options: dict[str, Any]) -> Sampling:
    return build(
        Sampling, LIKELIEST.model_dump(exclude_unset=True) | fields.given(options, Sampling)
    )


def _require_free(train: Path, out: Path) -> None:
    if train.absolute() == out.absolute():
        raise ConfigError(f"{out}: cannot be both", hint="Name two files for -o and --distill.")
    require_replaceable(train, read_answers(out) if out.exists() else ())


def _chosen(out: Path, done: Rescue) -> Iterator[StoredAnswer]:
    keys = set(done.keys)
    return (answer for answer in read_answers(out) if answer.key in keys)


def _say_shutdown(app: App, model: str) -> None:
    try:
        date = shutdown_date(app.client.backend, model)
    except BackendError as error:
        say(clean_line(f"The shutdown date of {model} cannot be looked up: {error.message}"))
        return
    if date:
        say(clean_line(f"{model} will be shut down on {date}."))
    else:
        say(clean_line(f"The service gives no shutdown date for {model}."))


def _emit(done: Rescue, made: Any) -> None:
    emit(
        {
            "object": "rescue",
            "wanted": len(done.keys),
            "stored": done.stored,
            "fresh": done.fresh,
            "left": done.left,
            "tokens_read": done.tokens_read,
            "tokens_written": done.tokens_written,
            "failures": done.failures,
            "distilled": None if made is None else {"rows": made[0], "left_out": made[1]},
        }
    )


def _show(out: Path, done: Rescue, train: Path | None, made: Any) -> None:
    for failure in done.failures[:FAILURES]:
        say(clean_line(f"no answer: line {failure.line}: {failure.reason}"))
    if len(done.failures) > FAILURES:
        say(f"{len(done.failures) - FAILURES} more prompts got no answer.")
    say(
        f"{clean_line(str(out))} holds {done.stored} of {len(done.keys)} answers, {done.fresh} of"
        f" them new: {done.tokens_read:,} tokens read, {done.tokens_written:,} written."
    )
    if done.left:
        say(f"{done.left} prompts are left: run it again to go on.")
    if train is not None:
        rows, left_out = made
        words = ", ".join(f"{count} {clean_line(reason)}" for reason, count in left_out.items())
        say(
            f"{clean_line(str(train))} has {rows} rows"
            + (f"; left out: {words}." if words else ".")
        )
