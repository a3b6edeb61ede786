"""`ftjobs data check`."""

from __future__ import annotations

from pathlib import Path

import click

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import clean_line, emit, say
from ftjobs.data import Report, check
from ftjobs.data.targets import TARGETS
from ftjobs.errors import ExitCode


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--for",
    "target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Whose rules count.",
)
@click.option(
    "--max-errors",
    type=click.IntRange(min=1),
    help="Keep at most so many errors and so many warnings.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    files: tuple[Path, ...],
    target: str,
    max_errors: int | None,
    as_json: bool,
) -> None:
    """Say everything that is wrong with FILES, by line and column.

    ftjobs data check train.jsonl
    ftjobs data check train.jsonl valid.jsonl --for openai --json

    Exit code 3 if there is an error; warnings alone are 0.
    """
    reports = [check(path, target=target, max_issues=max_errors) for path in files]
    for report in reports:
        _emit(report) if as_json else _show(report)
    if not all(report.ok for report in reports):
        context.exit(ExitCode.DATASET)


def _emit(report: Report) -> None:
    for issue in report.issues:
        emit(issue)
    emit(
        {
            "object": "report",
            "path": str(report.path),
            "ok": report.ok,
            "errors": report.error_count,
            "warnings": report.warning_count,
            "examples": report.examples,
            "lines": report.lines,
            "truncated": report.truncated,
            "manifest": report.manifest,
        }
    )


def _show(report: Report) -> None:
    for issue in report.issues:
        click.echo(f"{clean_line(str(issue))} ({issue.severity})")
        if issue.hint:
            click.echo(f"    {clean_line(issue.hint)}")
    more = " (and more: raise --max-errors)" if report.truncated else ""
    verdict = "ok" if report.ok else "not usable"
    say(
        f"{clean_line(str(report.path))}: {verdict}: {_many(report.examples, 'example')} in "
        f"{_many(report.lines, 'line')}, {_many(report.error_count, 'error')}, "
        f"{_many(report.warning_count, 'warning')}{more}"
    )
    if report.issues:
        say(f"What a code means: ftjobs explain {report.issues[0].code}")


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
