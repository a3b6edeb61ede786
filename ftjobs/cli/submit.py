"""`ftjobs submit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from ftjobs.cli import ci
from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.plan import SECTIONS, job_options, make_plan, show, start
from ftjobs.cli.show import clean_line, say
from ftjobs.jobs.plan import Plan, check_sound


@click.command(cls=Command, sections=SECTIONS)
@job_options
@click.option("--dry-run", is_flag=True, help="Say what would happen, as ftjobs plan does.")
@click.option("--watch", is_flag=True, help="Follow the job until it ends.")
@ci.output_option
@json_option
@pass_app
def command(
    app: App,
    /,
    source: Path,
    dry_run: bool,
    watch: bool,
    outputs: Sequence[Path],
    as_json: bool,
    **options: Any,
) -> None:
    """Check a dataset, upload it and start a job, unless a job of this content exists.

    ftjobs submit train.jsonl --model smollm2-135m --n-epochs 3 --watch
    ftjobs --backend openai submit train.jsonl --model gpt-4.1-mini-2025-04-14
    ftjobs submit job.toml --max-cost 5

    TRAIN is a dataset; a JOB.TOML names it and says all else. Options win over the file.

    The job goes on when this command ends.  With --watch, exit code 5 says that it failed.  If
    the command is interrupted, run it again: there will be one job.
    """
    if dry_run and outputs:
        raise click.UsageError("--dry-run starts no job to report; ftjobs plan -o keeps a plan.")
    plan = make_plan(app, source, options, priced=dry_run)
    if dry_run:
        show(plan, as_json=as_json)
        if plan.adopt is None:
            check_sound(plan)
        return
    _tell(plan)
    start(app, plan, watch=watch, as_json=as_json, outputs=outputs)


def _tell(plan: Plan) -> None:
    """What there is to know before the job starts."""
    for note in plan.notes:
        if note.level != "error":
            say(clean_line(f"{note.level}: {note.text}"))
            if note.hint:
                say(clean_line(f"  {note.hint}"))
