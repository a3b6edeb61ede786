"""`ftjobs explain`."""

from __future__ import annotations

import click

from ftjobs.cli.app import Command, json_option
from ftjobs.cli.show import emit
from ftjobs.data import explain


@click.command(cls=Command)
@click.argument("code")
@json_option
def command(code: str, as_json: bool) -> None:
    """Explain a code that `ftjobs data check` printed, such as FT203."""
    rule = explain(code)
    if as_json:
        emit(rule)
        return
    click.echo(f"{rule.code}: {rule.title} ({rule.severity})\n")
    click.echo(f"Why:  {rule.why}")
    click.echo(f"Fix:  {rule.fix}")
