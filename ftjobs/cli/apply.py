"""`ftjobs apply`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ftjobs.cli import ci
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.plan import spare, start
from ftjobs.jobs.planfile import read_plan


@click.command(cls=Command)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@ci.output_option
@json_option
@pass_app
def command(app: App, plan: Path, watch: bool, outputs: Sequence[Path], as_json: bool) -> None:
    """Start the job of the file PLAN, which `ftjobs plan -o PLAN` has made.

    ftjobs apply plan.json
    ftjobs apply plan.json --watch

    The same plan always ends in the same job, however often and wherever it is applied.  Exit
    code 10 if data, job or service have moved since it was made: plan again.
    """
    made = read_plan(plan)
    spare((plan,), outputs)
    app.take_backend(made.backend)
    start(app, made, watch=watch, as_json=as_json, outputs=outputs)
