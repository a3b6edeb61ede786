"""`ftjobs explain`."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

import click

from ftjobs.backends.failures import Failure, failures, named
from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import emit, show_table
from ftjobs.data import RULES, Rule, explain
from ftjobs.reports import dataset, failure


@click.command(cls=Command)
@click.argument("code", required=False)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Explain a CODE that `data check` printed, or that a job or a request failed with.

    ftjobs explain FT203
    ftjobs explain insufficient_quota

    Without a code, list all codes: those of datasets, then those of services and local jobs.
    """
    known: Sequence[Rule | Failure] = (
        [_find(code)] if code else [*RULES.values(), *failures().values()]
    )
    if as_json:
        for one in known:
            emit(one)
    elif code:
        click.echo(_explanation(known[0]))
    else:
        _list()


def _find(code: str) -> Rule | Failure:
    """ConfigError, with the codes close to it, if there is none."""
    return explain(code) if re.fullmatch(r"(?i)ft\d+", code) else named(code, also=RULES)


def _explanation(known: Rule | Failure) -> str:
    width = shutil.get_terminal_size((100, 24)).columns
    if isinstance(known, Failure):
        return failure.explanation(known, width=width)
    return dataset.explanation(known, width=width)


def _list() -> None:
    click.echo("Datasets: what ftjobs data check finds\n")
    rules = [(rule.code, rule.severity, rule.fixable or "", rule.title) for rule in RULES.values()]
    show_table(("CODE", "SEVERITY", "FIX", "TITLE"), rows=rules, nothing="")
    click.echo("\nJobs and requests: what services and local jobs fail with\n")
    table = [(one.code, one.where, one.title) for one in failures().values()]
    show_table(("CODE", "WHERE", "TITLE"), table, nothing="")
