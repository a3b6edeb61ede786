"""`ftjobs data check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.data.counting import find_counter
from ftjobs.cli.data.found import Found, count, find, gap
from ftjobs.cli.data.output import FORMATS, Output
from ftjobs.cli.data.places import is_same, spare
from ftjobs.cli.show import clean_line, say
from ftjobs.data.baseline import Baseline
from ftjobs.data.checker import MAX_ISSUES
from ftjobs.data.reading import STDIN
from ftjobs.data.targets import TARGETS
from ftjobs.data.tokens import TokenCounter, inspector
from ftjobs.reports.dataset import many

if TYPE_CHECKING:
    from ftjobs.data.fix import FixReport

STALE = 10
"""Entries of a baseline that are named because they match nothing any more."""

_PATH = click.Path(path_type=Path)


def _split(
    context: click.Context,  # noqa: ARG001 - click's signature
    parameter: click.Parameter,  # noqa: ARG001
    values: Sequence[str],
) -> tuple[str, ...]:
    """The words of options that hold one each, or many with commas."""
    return tuple(word.strip() for value in values for word in value.split(","))


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, type=_PATH)
@click.option(
    "--for",
    "target",
    type=click.Choice(list(TARGETS)),
    default="local",
    show_default=True,
    help="Whose rules count.",
)
@click.option(
    "--select",
    multiple=True,
    metavar="CODES",
    callback=_split,
    help="Look for these codes only: FT204, or FT4 for all that begin so; with commas for more.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="CODES",
    callback=_split,
    help="Leave these codes out.  Submit still refuses a file whose errors are left out here.",
)
@click.option(
    "--near",
    type=float,
    metavar="SIMILARITY",
    help="Look for rows that are nearly the same too; 0.8 is a good start, 1 the same words.",
)
@click.option("--model", help="Count tokens as this base model, and say what it would cut off.")
@click.option(
    "--max-errors",
    type=click.IntRange(min=1),
    help="Keep at most so many errors and so many warnings of a file.",
)
@click.option(
    "--baseline",
    type=_PATH,
    metavar="FILE",
    help="Hide the warnings that this file accepts.  Errors are never hidden.",
)
@click.option(
    "--write-baseline", type=_PATH, metavar="FILE", help="Accept today's warnings in this file."
)
@click.option(
    "--fix",
    "fixed",
    type=_PATH,
    metavar="OUT",
    help="Repair what can be without changing what is meant, write it to OUT, and check that.",
)
@click.option(
    "--unsafe-fixes", is_flag=True, help="With --fix, repair too what a human should look at."
)
@click.option("--force", is_flag=True, help="With --fix, write over OUT.")
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that share a large file.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Default: what the name of -o ends with, text on a terminal, otherwise plain.",
)
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="Write the report to this file.")
@json_option
@click.pass_context
@pass_app
def command(
    app: App,
    context: click.Context,
    /,
    files: tuple[Path, ...],
    near: float | None,
    model: str | None,
    max_errors: int | None,
    baseline: Path | None,
    write_baseline: Path | None,
    fixed: Path | None,
    unsafe_fixes: bool,
    force: bool,
    form: str | None,
    output: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Say everything that is wrong with FILES, by line and column.

    ftjobs data check train.jsonl
    ftjobs data check train.jsonl valid.jsonl --for openai --model gpt-4o-mini
    ftjobs data check train.jsonl --fix train-fixed.jsonl
    ftjobs data check train.jsonl --ignore FT8,FT107 -o report.html
    ftjobs data check train.jsonl --baseline accepted.json --format github
    cat train.jsonl | ftjobs data check - --json

    Of several files it says too what they have in common.  Exit code 3 if there is an error;
    warnings alone are 0.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other.")
    place = Output.of("json" if as_json else form, output)
    for name, path in (("--fix", fixed), ("--write-baseline", write_baseline)):
        if path == STDIN:
            raise click.UsageError(f"{name} writes a file: standard output is for the report.")
    spare(filter(None, [*files, fixed]), filter(None, [place.path, write_baseline]))
    if baseline and place.path and is_same(baseline, place.path):
        raise click.UsageError(f"{clean_line(str(baseline))} is the baseline: -o would destroy it.")
    known = Baseline.load(baseline) if baseline else None
    counter = _counter(app, model)
    repaired = _fix(files, fixed, unsafe=unsafe_fixes, force=force, **how)
    whole = bool(known or write_baseline or near is not None)  # these need issues, not counts
    found = find(
        files if repaired is None else [repaired.path],
        near=near,
        max_issues=None if whole else max_errors or MAX_ISSUES,
        inspectors=[inspector(counter)] if counter else [],
        **how,
    )
    found = replace(found, fixed=repaired, gap=gap(**how))
    if write_baseline:
        _accept(found, write_baseline)
    if known is not None:
        found = _hide(found, known)
    if place.form == "html":
        found = replace(found, statistics=count(found.reports, counter))
    place.show(found.capped(max_errors))
    if found.problems:
        raise found.problems[0]
    context.exit(found.exit_code)


def _fix(
    files: Sequence[Path],
    out: Path | None,
    *,
    target: str,
    select: Sequence[str],
    ignore: Sequence[str],
    unsafe: bool,
    force: bool,
    **_: object,
) -> FixReport | None:
    """Write the repaired file, if one is wanted."""
    if out is None:
        for option, given in (("--unsafe-fixes", unsafe), ("--force", force)):
            if given:
                raise click.UsageError(f"{option} does nothing without --fix.")
        return None
    if len(files) > 1:
        raise click.UsageError("--fix repairs one file at a time.")
    from ftjobs.data.fix import fix

    return fix(
        files[0],
        out,
        target=target,
        unsafe=unsafe,
        force=force,
        select=select,
        ignore=ignore,
        max_issues=1,  # the new file is checked again, with all that was asked for
    )


def _counter(app: App, model: str | None) -> TokenCounter | None:
    if model is None:
        return None
    counter = find_counter(app, model)
    if not counter.exact:
        say(f"Tokens are estimated: {clean_line(counter.note)}")
    return counter


def _accept(found: Found, path: Path) -> None:
    accepted = Baseline.of(found.reports)
    accepted.save(path)
    warnings = many(sum(entry.count for entry in accepted.accepted), "warning")
    say(f"{clean_line(str(path))} accepts {warnings}; errors are never accepted.")


def _hide(found: Found, known: Baseline) -> Found:
    """What was found without what is accepted; what is accepted in vain is said."""
    hidden = known.hide(found.reports)
    if hidden.accepted:
        say(f"{many(hidden.accepted, 'warning')} hidden by the baseline.")
    stale = [entry for entry in hidden.stale if entry.code in found.codes]
    for entry in stale[:STALE]:
        words = f"{entry.code} {entry.fingerprint} is found {entry.count}× less often than accepted"
        say(f"stale: {clean_line(words)}")
    if stale:
        say(f"The baseline accepts too much ({len(stale):,}): --write-baseline writes it anew.")
    return replace(found, reports=hidden.reports)
