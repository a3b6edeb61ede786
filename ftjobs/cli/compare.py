"""`ftjobs compare`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftjobs.cli import ci, fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.meter import meter
from ftjobs.cli.plan import Dollars, spare
from ftjobs.cli.show import can_redraw, clean_line, emit, say, span
from ftjobs.errors import ExitCode
from ftjobs.jobs.evaluation import READING
from ftjobs.jobs.fields import build
from ftjobs.schema import Sampling

if TYPE_CHECKING:
    from ftjobs.evals.asking import Asker
    from ftjobs.evals.result import Comparison
    from ftjobs.jobs.evaluation import Evaluation

CODES = {
    "pass": ExitCode.OK,
    "fail": ExitCode.GATE_FAILED,
    "inconclusive": ExitCode.INCONCLUSIVE,
}
"""What a verdict returns."""

COLOURS: Mapping[str, Mapping[str, Any]] = {
    "heading": {"bold": True},
    "pass": {"fg": "green", "bold": True},
    "fail": {"fg": "red", "bold": True},
    "inconclusive": {"fg": "yellow", "bold": True},
    "note": {"dim": True},
    "warning": {"fg": "yellow"},
    "removed": {"fg": "red", "strikethrough": True},
    "added": {"fg": "green"},
}


@click.command(cls=Command)
@click.argument("source", metavar="PROMPTS|FILE.TOML", type=click.Path(path_type=Path))
@click.option("--base", metavar="MODEL", help="The baseline.")
@click.option(
    "--tuned", metavar="MODEL|JOB", help="The candidate; a job stands for its tuned model."
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    metavar="NAME=MODEL[@BACKEND]",
    help="One more, or NAME=answers.jsonl for stored answers.  May be given again.",
)
@click.option(
    "--checkpoints", metavar="all|STEP,…", help="Checkpoints of the candidate's job as more arms."
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=FILE",
    callback=fields.pairs,
    help="Prompts beside those of the verdict: train shows reciting, any other forgetting.",
)
@click.option(
    "--grader",
    "graders",
    multiple=True,
    metavar="NAME[:…]",
    help="How answers are scored; the first decides.  By default exact and chrf, or tool-calls; "
    "with a judge, then pairwise.",
)
@click.option("--judge", metavar="MODEL[@BACKEND]", help="The model that judge and pairwise ask.")
@click.option(
    "--gate",
    type=click.Choice(["better", "non-inferior", "none"]),
    help="What the candidate has to show: better, by default.",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    metavar="SCORE",
    help="By how much better, or how much worse it may be; 0 by default.",
)
@click.option(
    "--samples", type=click.IntRange(1, 128), metavar="N", help="Answers a prompt and arm."
)
@click.option(
    "--cluster-by", metavar="FIELD", help="The field or tag of prompts that belong together."
)
@click.option(
    "--max-cost", type=Dollars(min=0), metavar="USD", help="Stop before more would be spent."
)
@click.option("--fresh", is_flag=True, help="Ask again what is known from an earlier run.")
@click.option(
    "--all", "every", is_flag=True, help="Print every row, not just those that got worse."
)
@fields.options(Sampling, leave_out=["n"])
@ci.comparison_option
@json_option
@pass_app
def command(
    app: App,
    /,
    source: Path,
    outputs: Sequence[Path],
    fresh: bool,
    every: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Ask models the same prompts, and say whether the difference is real.

    ftjobs compare eval.jsonl --base smollm2-135m --tuned latest
    ftjobs compare job.toml -o report.html -o comment.md
    ftjobs compare eval.jsonl --base MODEL --tuned JOB --arm rival=MODEL@together

    A line of PROMPTS is {"messages": [...], "expected": "..."}; a chat dataset or a CSV file will
    do as it is.  A TOML file says all of it under [evaluation]; that of a job compares the job's
    model with its base.  Options win over the file.

    Answers are greedy (temperature 0) and at most 512 tokens long unless you say otherwise.  Those
    of an earlier run are taken from there: a run that was stopped goes on where it was.

    Exit code 0 if the candidate passes the gate (or with --gate none), 6 if it fails, 7 if the
    evidence decides nothing, 9 if --max-cost is reached.
    """
    from ftjobs.cli import candidates

    drawn = build(Sampling, fields.given(options, Sampling) or {})
    evaluation, untrusted = candidates.evaluation_of(app, source, options, drawn)
    spare((source, *(_files(evaluation))), outputs)
    wants_verdict = options["gate"] != "none"
    with meter("Asking") as move:
        ask = app.client.asker(
            fresh=fresh,
            max_cost=evaluation.max_cost,
            progress=lambda done, total, usd: move(done, total, _spent(usd)),
        )
        result = candidates.compared(
            app,
            evaluation,
            untrusted,
            drawn,
            ask,
            wants_verdict=wants_verdict,
            say=_say,
        )
    _tell_reused(ask)
    ci.report_comparison(app, result, outputs)
    _print(result, as_json=as_json, rows=None if every else 10)
    if result.verdict is not None:
        return CODES[result.verdict.word]
    return ExitCode.INCONCLUSIVE if wants_verdict else ExitCode.OK


def _files(evaluation: Evaluation) -> Iterator[Path]:
    """What is read, file by file."""
    judge = evaluation.judge
    named = [evaluation.prompts, judge.rubric if judge else None, *evaluation.sets.values()]
    for arm in evaluation.arms.values():
        named += [arm.examples, arm.answers, arm.documents]
    for name, _, argument in (text.partition(":") for text in evaluation.graders):
        if argument and name in READING:
            named.append(Path(argument.partition("#")[0] if name == "openai" else argument))
    for path in filter(None, named):
        yield from path.rglob("*") if path.is_dir() else (path,)


def _spent(usd: float | None) -> str:
    return "" if usd is None else f"${usd:,.2f}"


def _say(sentence: str) -> None:
    line = clean_line(sentence)
    text = line[:1].upper() + line[1:] + "."
    columns = shutil.get_terminal_size().columns
    say(click.wrap_text(text, columns) if sys.stderr.isatty() else text)


def _tell_reused(ask: Asker) -> None:
    if ask.reused and ask.oldest is not None:
        say(
            f"{ask.reused:,} answers are from earlier runs, the oldest {span(ask.oldest)} old; "
            "--fresh asks again."
        )


def _print(result: Comparison, *, as_json: bool, rows: int | None) -> None:
    from ftjobs.reports import comparison as reports

    if as_json:
        for each in reports.objects(result):
            emit(each)
        return
    width = shutil.get_terminal_size((100, 24)).columns
    paints = sys.stdout.isatty() and can_redraw(os.environ) and not os.environ.get("NO_COLOR")
    shown = reports.text(result, width=width, rows=rows, style=_paint if paints else None)
    click.echo(shown)


def _paint(kind: str, text: str) -> str:
    return click.style(text, **COLOURS.get(kind, {}))
