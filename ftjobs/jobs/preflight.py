"""Preflight: what a service would refuse, close or surprise with, found before anything is sent.

A note says what is the matter and what to do.  Notes of level "error" mean that the job cannot
run as it stands; warnings and infos stop nothing.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ftjobs.backends.base import Hosted, Trainer
from ftjobs.backends.profiles import PROFILES, Profile
from ftjobs.data.estimate import MARGIN
from ftjobs.data.rules import RULES
from ftjobs.data.rules.rule import Rule
from ftjobs.data.stats import lines_in
from ftjobs.data.tokens import TokenCounter, inspector
from ftjobs.errors import AuthError, BackendError, ConfigError
from ftjobs.jobs.budget import Planned, counter_of
from ftjobs.schema import Hyperparameters, JobSpec, Model

__all__ = ["Note", "preflight"]

SOON = 90
"""Days before an end in which it is a warning."""

LISTS_ALL = frozenset({"openai"})
"""Services whose list of models leaves none out that they train."""

ROOM = 2**30
"""Bytes that a local job may need beside its files: base model, checkpoints, adapter."""

CLOSE = "FT905"
"""The finding that an example fits, but only just: no reason to stop."""


REFUSED = "FT906"
"""The finding that an example cannot be trained, which says itself why."""


class Note(BaseModel):
    """One thing to know before a job starts: what it is, and what to do about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["info", "warning", "error"]
    text: str
    hint: str = ""


def preflight(
    backend: Trainer, spec: JobSpec, files: Mapping[str, Planned], *, today: dt.date
) -> tuple[Note, ...]:
    """What stands in the way of a job, or will soon.

    A question that the service does not answer becomes a warning: the job may run all the same.

    Args:
        backend: where the job would run.
        spec: the job; the ids of its files do not matter.
        files: what it would train and validate on, by the spec's field.
        today: the day that dates are compared with.

    Raises:
        AuthError: the key is missing or refused.
        ConfigError: a file cannot be read.
    """
    here = backend.name == "local"
    notes = [*_settings(backend, spec), *_sizes(backend, files), *_sameness(files)]
    notes += _machine(backend, spec, files) if here else _service(backend, spec, today)
    counter = counter_of(backend, spec)
    for file in files.values():
        notes += _lengths(file, counter, spec.hyperparameters)
    return tuple(notes)


# --- the service --------------------------------------------------------------------------------


def _service(backend: Trainer, spec: JobSpec, today: dt.date) -> Iterator[Note]:
    """The key, the account, and the dates of service and model."""
    has_jobs: bool | None = None
    try:
        has_jobs = next(iter(backend.jobs()), None) is not None  # the read that tries the key
    except AuthError:
        raise
    except BackendError as error:
        yield _unanswered(f"{backend.name} did not say which jobs there are", error)
    yield from _dates(backend, today, has_jobs=has_jobs)
    try:
        models = {model.id: model for model in backend.models()}
    except BackendError as error:  # a key may be allowed to train, and not to list models
        yield _unanswered(f"{backend.name} did not say which models it has", error)
    else:
        yield from _model(backend.name, spec.model, models, today)


def _unanswered(what: str, error: BackendError) -> Note:
    return Note(
        level="warning",
        text=f"{what}: {error.message}",
        hint="The job may run all the same; plan again to be sure.",
    )


def _profile(backend: Trainer) -> Profile | None:
    """The backend's profile; that of its name for one that only bears the name, as in tests."""
    return backend.profile if isinstance(backend, Hosted) else PROFILES.get(backend.name)


def _dates(backend: Trainer, today: dt.date, *, has_jobs: bool | None) -> Iterator[Note]:
    """When the service stops taking jobs, and from whom it takes none already."""
    service, profile = backend.name, _profile(backend)
    if profile is None:
        return
    closes, since = profile.closes, profile.closed_to_new_since
    if closes is not None and (closes - today).days <= SOON:
        yield _end(f"{service} takes no new jobs from {closes} on", closes, today, _MOVE)
    if since is not None and since <= today and has_jobs is False:
        yield Note(
            level="warning",
            text=(
                f"since {since} {service} takes jobs only from accounts that have tuned models "
                "before, and this one lists no job"
            ),
            hint=(
                "If the job is refused with the code training_not_available, it is for this "
                f"reason, and no retry helps. {_MOVE}"
            ),
        )


_MOVE = "The same job runs elsewhere: --backend local, or another service."


def _model(service: str, name: str, models: Mapping[str, Model], today: dt.date) -> Iterator[Note]:
    """Whether the service has the model, and for how long."""
    model = models.get(name)
    if model is None:
        close = get_close_matches(name, models)
        yield Note(
            level="error" if service in LISTS_ALL else "warning",
            text=f"{service} lists no model {name}",
            hint=(
                f"Did you mean {' or '.join(close)}?"
                if close
                else f"See: ftjobs --backend {service} models list"
            ),
        )
        return
    end = _date(model.shutdown_date)
    if end is not None and (end - today).days <= SOON:
        what = f"{name} shuts down on {end}, and every model tuned from it with it"
        yield _end(what, end, today, "Tune a base model that lives longer.")


def _date(text: str | None) -> dt.date | None:
    """A date of the service; None for none, and for what is not written as one."""
    try:
        return dt.date.fromisoformat((text or "")[:10])
    except ValueError:
        return None


def _end(what: str, end: dt.date, today: dt.date, hint: str) -> Note:
    days = (end - today).days
    if days <= 0:
        return Note(level="error", text=f"{what}: that day has come", hint=hint)
    left = "tomorrow" if days == 1 else f"in {days} days"
    return Note(level="warning", text=f"{what}: {left}", hint=hint)


# --- what can be known here ---------------------------------------------------------------------


def _settings(backend: Trainer, spec: JobSpec) -> Iterator[Note]:
    """Hyperparameters outside the service's limits."""
    profile = _profile(backend)
    for name, (low, high) in profile.limits.items() if profile else ():
        value = spec.hyperparameters.given().get(name, low)
        if not low <= value <= high:
            yield Note(
                level="error",
                text=f"{backend.name} takes no {name} of {value:g}",
                hint=f"It takes {low:g} to {high:g}.",
            )


def _sizes(backend: Trainer, files: Mapping[str, Planned]) -> Iterator[Note]:
    """Files larger than the backend takes."""
    most = backend.capabilities.max_file_bytes
    for file in files.values():
        if most is not None and file.bytes > most:
            yield Note(
                level="error",
                text=f"{file.path} has {file.bytes:,} bytes; {backend.name} takes {most:,}",
                hint="Train on fewer examples: ftjobs data split makes smaller files.",
            )


def _sameness(files: Mapping[str, Planned]) -> Iterator[Note]:
    """A validation file that holds what is trained on."""
    if len({file.sha256 for file in files.values()}) < len(files):
        yield Note(
            level="warning",
            text="the validation file is the training file: valid_loss will tell nothing new",
            hint="Hold examples out: ftjobs data split makes two files of one.",
        )


def _machine(backend: Trainer, spec: JobSpec, files: Mapping[str, Planned]) -> Iterator[Note]:
    """Whether this machine has the base model, and room for the job."""
    from ftjobs.backends.local import models
    from ftjobs.backends.local.backend import LocalBackend

    if not isinstance(backend, LocalBackend):
        return
    try:
        models.require(spec.model)
    except ConfigError as error:
        yield Note(level="error", text=error.message, hint=error.hint)
    yield from _room(backend.settings.home, sum(file.bytes for file in files.values()))


def _room(home: Path, needed: int) -> Iterator[Note]:
    """Whether a disk has room for copies of the files, and for what training writes."""
    there = next((folder for folder in (home, *home.parents) if folder.exists()), home)
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return  # what cannot be read here is said by the store, in better words
    if free < needed + ROOM:
        yield Note(
            level="error" if free < needed else "warning",
            text=f"{home} has {free:,} bytes free; the files alone need {needed:,}",
            hint="Free some space, or set FTJOBS_HOME to a larger disk.",
        )


def _lengths(file: Planned, counter: TokenCounter, settings: Hyperparameters) -> Iterator[Note]:
    """Examples that are longer than the model reads, or than the job may, by kind.

    A token has at least one byte, so that only lines with more bytes than that are counted.
    """
    if counter.context is None:
        return
    look = inspector(counter)
    fits = counter.context if counter.exact else int(counter.context * MARGIN)
    fits = min(fits, settings.max_prompt_length or fits, settings.max_completion_length or fits)
    lines: dict[str, list[tuple[int, str]]] = {}
    for number, line in lines_in(file.path):
        said = {found.code: found.message for found in look(line)} if len(line) > fits else {}
        for code, message in said.items():
            lines.setdefault(code, []).append((number, message))
    for code in sorted(lines.keys() - {CLOSE}):
        yield _too_long(file.path, RULES[code], lines[code])


def _too_long(path: Path, rule: Rule, lines: list[tuple[int, str]]) -> Note:
    (first, message), more = lines[0], len(lines) - 1
    what = message if rule.code == REFUSED else rule.title
    return Note(
        level=rule.severity,
        text=f"{path}:{first}: {what}" + (f"; so are {more:,} more examples" if more else ""),
        hint=rule.fix,
    )
