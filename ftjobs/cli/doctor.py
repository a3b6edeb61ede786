"""`ftjobs doctor`."""

from __future__ import annotations

import platform

import click

import ftjobs
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.show import clean_line, emit
from ftjobs.client import Finding
from ftjobs.errors import ExitCode, FtjobsError

MARKS = {True: "ok  ", False: "FAIL", None: "--  "}


@click.command(cls=Command)
@json_option
@pass_app
@click.pass_context
def command(context: click.Context, app: App, as_json: bool) -> None:
    """Say what works here and what does not.

    ftjobs doctor
    ftjobs --backend openai doctor

    Exit code 1 if something that matters does not.
    """
    findings = _findings(app)
    for name, well, text in findings:
        if as_json:
            emit({"name": name, "ok": well, "text": text})
        else:
            click.echo(f"{MARKS[well]}  {clean_line(f'{name}: {text}')}")
    if any(well is False for _, well, _ in findings):
        context.exit(ExitCode.FAILED)


def _findings(app: App) -> list[Finding]:
    python = f"{ftjobs.__version__} on Python {platform.python_version()}"
    found: list[Finding] = [("ftjobs", True, python)]
    try:
        findings = app.client.doctor()
    except FtjobsError as error:
        return [*found, ("backend", False, " ".join(filter(None, (error.message, error.hint))))]
    return [*found, ("backend", True, app.settings.backend), *findings]
