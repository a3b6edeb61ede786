"""`ftjobs jobs`: what is known of jobs, and the verbs that steer them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import click

from ftjobs.backends.failures import failure_of
from ftjobs.cli import fields
from ftjobs.cli.app import App, Group, json_option, pass_app
from ftjobs.cli.show import clean_line, emit, say, show_pairs, show_table, when
from ftjobs.client import Client
from ftjobs.errors import ConfigError, NotFoundError
from ftjobs.jobs.identity import LENGTH, SHORT, adoptable, carries
from ftjobs.jobs.progress import valid_loss
from ftjobs.schema import IDENTITY, Job

IDENTITY_WORD = re.compile(f"[0-9a-f]{{8,{LENGTH}}}")


@click.group(cls=Group)
def command() -> None:
    """List, show and steer jobs.

    ftjobs jobs list
    ftjobs jobs show latest
    ftjobs --backend openai jobs cancel ftjob-a1b2c3d4

    JOB is an id, `latest`, or the start of a content identity.
    """


def job_id(client: Client, word: str) -> str:
    """The id that `word` stands for: itself, but for `latest` and content identities.

    Raises:
        NotFoundError: `latest`, and there is no job.
        ConfigError: the start of an identity that fits more than one.
    """
    if word == "latest":
        for job in client.jobs():
            return job.id
        raise NotFoundError("there is no job yet", hint="ftjobs submit starts one.")
    found = _of_identity(client, word) if IDENTITY_WORD.fullmatch(word) else None
    return word if found is None else found.id


def _of_identity(client: Client, word: str) -> Job | None:
    """The job to go on with of those whose identity begins with `word`; None if there is none."""
    jobs = client.jobs(metadata=None if len(word) < LENGTH else _filter(client, word))
    found = [job for job in jobs if _begins(job, word)]
    identities = {job.metadata.get(IDENTITY, word) for job in found}
    if len(identities) > 1:
        raise ConfigError(f"{word} begins {len(identities)} identities", hint="Give more digits.")
    oldest_first = found[::-1]
    return adoptable(oldest_first) or (found[0] if found else None)


def _filter(client: Client, identity: str) -> dict[str, str] | None:
    """The metadata to list by, where the backend keeps the identity there."""
    in_metadata = client.backend.capabilities.identity == "metadata"
    return {IDENTITY: identity} if in_metadata else None


def _begins(job: Job, word: str) -> bool:
    if IDENTITY in job.metadata:
        return job.metadata[IDENTITY].startswith(word)
    return len(word) >= SHORT and carries(job, word)


def one_job(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command about one job takes: the app, JOB and --json."""
    return click.argument("job")(json_option(pass_app(command)))


@command.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option(
    "--metadata",
    multiple=True,
    metavar="KEY=VALUE",
    callback=fields.pairs,
    help="Only jobs that carry it.",
)
@json_option
@pass_app
def list_jobs(app: App, limit: int, metadata: dict[str, str] | None, as_json: bool) -> None:
    """Jobs, newest first.

    ftjobs jobs list --limit 5
    ftjobs --backend openai jobs list --metadata team=support
    """
    newest = app.client.jobs(metadata=metadata)
    found = [job for _, job in zip(range(limit), newest, strict=False)]
    if as_json:
        for job in found:
            emit(job)
        return
    rows = [(j.id, j.status, when(j.created_at), j.model, j.fine_tuned_model or "") for j in found]
    head = ("ID", "STATUS", "CREATED", "MODEL", "FINE-TUNED MODEL")
    show_table(head, rows, nothing="There is no job yet: ftjobs submit starts one.")


@command.command("show")
@one_job
def show_job(app: App, job: str, as_json: bool) -> None:
    """One job's present state.

    ftjobs jobs show latest
    """
    found = app.client.job(job_id(app.client, job))
    emit(found) if as_json else _show(found)


def _show(job: Job) -> None:
    error, known = job.error, failure_of(job.error)
    show_pairs(
        [
            ("id", job.id),
            ("status", job.status),
            ("error", error and ": ".join(filter(None, (error.code, error.message)))),
            ("cause", known and known.cause),
            ("remedy", known and known.remedy),
            ("model", job.model),
            ("fine-tuned model", job.fine_tuned_model),
            ("created", when(job.created_at)),
            ("finished", when(job.finished_at)),
            ("training file", job.training_file),
            ("validation file", job.validation_file),
            ("hyperparameters", ", ".join(f"{k} {v}" for k, v in job.hyperparameters.items())),
            ("suffix", job.suffix),
            ("seed", job.seed),
            ("metadata", ", ".join(f"{k}={v}" for k, v in job.metadata.items())),
            ("trained tokens", job.trained_tokens),
            ("result files", ", ".join(job.result_files)),
        ]
    )


@command.command("events")
@one_job
def list_events(app: App, job: str, as_json: bool) -> None:
    """Everything that happened in a job, oldest first.

    ftjobs jobs events latest
    """
    for event in app.client.events(job_id(app.client, job)):
        if as_json:
            emit(event)
        else:
            level = "" if event.level == "info" else f"{event.level}: "
            click.echo(f"{when(event.created_at)}  {clean_line(level + event.message)}")


@command.command("checkpoints")
@one_job
def list_checkpoints(app: App, job: str, as_json: bool) -> None:
    """Models saved during a job, oldest first.

    ftjobs jobs checkpoints latest

    Each can be asked like any model: ftjobs chat.
    """
    found = app.client.checkpoints(job_id(app.client, job))
    if as_json:
        for checkpoint in found:
            emit(checkpoint)
        return
    rows = [
        (
            str(c.step_number),
            _number(c.metrics.train_loss),
            _number(valid_loss(c.metrics)),
            c.fine_tuned_model_checkpoint,
        )
        for c in found
    ]
    head = ("STEP", "TRAIN LOSS", "VALID LOSS", "MODEL")
    show_table(head, rows, nothing="This job has no checkpoint.")


@command.command("metrics")
@one_job
def list_metrics(app: App, job: str, as_json: bool) -> None:
    """The numbers of each step.

    ftjobs jobs metrics latest --json

    Losses are in nats a token, accuracies from 0 to 1.
    """
    found = app.client.metrics(job_id(app.client, job))
    if as_json:
        for metrics in found:
            emit(metrics)
        return
    rows = [
        (
            "" if m.step is None else str(m.step),
            _number(m.train_loss),
            _number(m.train_mean_token_accuracy),
            _number(m.valid_loss),
            _number(m.full_valid_loss),
        )
        for m in found
    ]
    head = ("STEP", "TRAIN LOSS", "TRAIN ACCURACY", "VALID LOSS", "FULL VALID LOSS")
    show_table(head, rows, nothing="This job has no metrics yet.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


@command.command("cancel")
@one_job
def cancel_job(app: App, job: str, as_json: bool) -> None:
    """End a job.

    ftjobs jobs cancel latest

    One that has ended stays as it is.
    """
    _steered(app.client.cancel(job_id(app.client, job)), as_json=as_json)


@command.command("pause")
@one_job
def pause_job(app: App, job: str, as_json: bool) -> None:
    """Stop a job so that it can go on later.

    ftjobs jobs pause latest
    """
    _steered(app.client.pause(job_id(app.client, job)), as_json=as_json)


@command.command("resume")
@one_job
def resume_job(app: App, job: str, as_json: bool) -> None:
    """Let a paused job go on.

    ftjobs jobs resume latest
    """
    _steered(app.client.resume(job_id(app.client, job)), as_json=as_json)


def _steered(job: Job, *, as_json: bool) -> None:
    if as_json:
        emit(job)
    else:
        verb = "has" if job.status in ("succeeded", "failed") else "is"
        say(clean_line(f"Job {job.id} {verb} {job.status}."))
