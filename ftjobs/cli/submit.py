"""`ftjobs submit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import click

from ftjobs.cli import fields
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.display import attach_command, display_for
from ftjobs.cli.show import clean_line, emit, progress_bar, say
from ftjobs.cli.watch import follow
from ftjobs.data import read
from ftjobs.jobs.plan import target_of
from ftjobs.schema import Hyperparameters, Issue, JobSpec

WARNINGS = 5  # printed of a dataset's


@click.command(cls=Command)
@click.argument("train", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="The base model.")
@click.option("--validation", type=click.Path(path_type=Path), help="Examples to validate on.")
@click.option(
    "--method",
    type=click.Choice(get_args(JobSpec.model_fields["method"].annotation)),
    default="supervised",
    show_default=True,
    help="How to train.",
)
@click.option("--suffix", help="1 to 64 characters for the tuned model's name.")
@click.option("--seed", type=int, help="The same seed trains the same model, where it can.")
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    callback=fields.pairs,
    help="Kept with the job.",
)
@fields.options(Hyperparameters)
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@json_option
@pass_app
def command(app: App, /, train: Path, watch: bool, as_json: bool, **options: Any) -> None:
    """Check the dataset TRAIN, upload it and start a job.

    ftjobs submit train.jsonl --model smollm2-135m --n-epochs 3 --watch
    ftjobs --backend openai submit train.jsonl --model gpt-4o-mini-2024-07-18 --suffix support

    The job goes on when this command ends.  With --watch, exit code 5 says that it failed.
    """
    hyperparameters = fields.given(options, Hyperparameters)
    _warn(read(train, target=target_of(app.client.backend)).warnings)
    with progress_bar("Uploading") as progress:
        job = app.client.submit(train, progress=progress, **options, **hyperparameters)
    if as_json:
        emit(job)
    else:
        click.echo(clean_line(job.id))
        say(clean_line(f"Job {job.id} is {job.status}."))
    if watch:
        follow(app, job, display_for(app.settings, as_json=as_json))
    elif not as_json:
        say(f"Watch it: {attach_command(app, job.id)}")


def _warn(warnings: Sequence[Issue]) -> None:
    for issue in warnings[:WARNINGS]:
        say(f"warning: {clean_line(str(issue))}")
    if len(warnings) > WARNINGS:
        say(f"{len(warnings) - WARNINGS} more warnings: ftjobs data check shows them.")
