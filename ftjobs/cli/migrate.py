"""`ftjobs migrate`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from ftjobs.cli.app import App, Command, json_option, pass_app
from ftjobs.cli.meter import meter
from ftjobs.cli.show import clean_line, emit, say, show_table, size
from ftjobs.errors import ExitCode
from ftjobs.jobs.migrate import Migration, migrate

LOSSES = 20  # printed


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--only", multiple=True, metavar="STATUS", help="Only jobs in this status, such as succeeded."
)
@click.option(
    "--job", "jobs", multiple=True, metavar="ID", help="Only this job.  May be given again."
)
@click.option("--model", help="The base model to write into the job files, instead of the old.")
@json_option
@pass_app
def command(
    app: App,
    folder: Path,
    only: tuple[str, ...],
    jobs: tuple[str, ...],
    model: str | None,
    as_json: bool,
) -> int:
    """Take an account's jobs, files, events and metrics along into FOLDER.

    ftjobs --backend openai migrate leaving
    ftjobs --backend openai migrate leaving --only succeeded --model smollm2-135m

    Each job gets a job.toml that runs it on another backend.  Run it again to go on or to bring
    running jobs up to date: nothing is fetched twice.

    Exit code 1 if something could not be had that the next run may get.
    """
    with meter("Fetching") as progress:
        done = migrate(
            app.client.backend, folder, only=only, jobs=jobs, model=model, progress=progress
        )
    if as_json:
        _emit(done)
    else:
        _show(done)
    return ExitCode.OK if done.complete else ExitCode.FAILED


def _emit(done: Migration) -> None:
    for job_id in done.looked_at:
        emit({"object": "migration.job", "id": job_id, **done.manifest.jobs[job_id].model_dump()})
    for name, model in done.manifest.models.items():
        emit({"object": "migration.model", "id": name, **model.model_dump()})
    emit(
        {
            "object": "migration",
            "folder": str(done.folder),
            "complete": done.complete,
            "jobs": len(done.looked_at),
            "fetched": done.fetched,
            "fetched_bytes": done.fetched_bytes,
            "missing": done.missing,
        }
    )


def _show(done: Migration) -> None:
    models = done.manifest.models
    rows = [
        (model.shutdown_date or "unknown", "" if model.listed else "gone", name, model.job)
        for name, model in models.items()
    ]
    head = ("SHUTDOWN", "", "FINE-TUNED MODEL", "JOB")
    show_table(head, sorted(rows), nothing="No job here has a tuned model.")
    _say_missing(done)
    _say_odd(done)
    _say_sum(done)


def _say_missing(done: Migration) -> None:
    """What is missing, a file that several jobs share once."""
    jobs: dict[tuple[str, str, bool], list[str]] = {}
    for loss in done.missing:
        jobs.setdefault((loss.what, loss.reason, loss.final), []).append(loss.job)
    for (what, reason, final), of in list(jobs.items())[:LOSSES]:
        whose = of[0] if len(of) == 1 else f"{len(of)} jobs"
        again = "" if final else " (the next run tries again)"
        say(clean_line(f"missing: {what} of {whose}: {reason}{again}"))
    if len(jobs) > LOSSES:
        say(f"{len(jobs) - LOSSES} more are missing: manifest.json lists them.")


def _say_odd(done: Migration) -> None:
    for file_id, entry in done.manifest.files.items():
        if entry.note:
            say(clean_line(f"warning: {file_id}: {entry.note}"))


def _say_sum(done: Migration) -> None:
    jobs = [done.manifest.jobs[each] for each in done.looked_at]
    kept = [entry.kept for entry in done.manifest.files.values() if entry.kept]
    running = sum(not job.settled for job in jobs)
    dates = Counter(m.shutdown_date for m in done.manifest.models.values() if m.shutdown_date)
    say(
        f"{len(jobs)} job(s) looked at, {done.fetched} file(s) fetched ({size(done.fetched_bytes)})"
        f"; {clean_line(str(done.folder))} holds {len(kept)} files of the service, "
        f"{size(sum(each.bytes for each in kept))}."
    )
    if running:
        say(f"{running} job(s) have not ended: run it again to bring them up to date.")
    for date, count in sorted(dates.items())[:1]:
        say(clean_line(f"{count} model(s) end on {date}: ftjobs rescue stores their answers."))
