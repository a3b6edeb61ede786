"""`ftjobs explain`."""

from __future__ import annotations

import shutil

import click

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import emit, show_table
from ftjobs.data import RULES, Rule, explain
from ftjobs.reports import dataset


@click.command(cls=Command)
@click.argument("code", required=False)
@json_option
def command(code: str | None, as_json: bool) -> None:
    """Explain a CODE that `ftjobs data check` printed; without one, list all codes.

    ftjobs explain FT203
    """
    rules = [explain(code)] if code else list(RULES.values())
    if as_json:
        for rule in rules:
            emit(rule)
    elif code:
        width = shutil.get_terminal_size((100, 24)).columns
        click.echo(dataset.explanation(rules[0], width=width))
    else:
        _list(rules)


def _list(rules: list[Rule]) -> None:
    rows = [(rule.code, rule.severity, rule.fixable or "", rule.title) for rule in rules]
    show_table(("CODE", "SEVERITY", "FIX", "TITLE"), rows, nothing="There are no codes.")
