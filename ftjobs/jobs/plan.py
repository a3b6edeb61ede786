"""Plan and apply: first all that can be known without spending anything, then the job, once.

`plan_job` checks the data, looks at the service and prices the job; `apply` carries a plan out
if nothing has moved since, and may be repeated: the same plan always ends in the same job.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ftjobs.backends.base import Fit, Progress, Trainer, check_supported
from ftjobs.backends.retry import PERMANENT, RetryPolicy
from ftjobs.data import Dataset, read
from ftjobs.data.cost import Price
from ftjobs.data.targets import TARGETS
from ftjobs.disk import stamp_of
from ftjobs.errors import (
    ConfigError,
    DatasetError,
    FtjobsError,
    StalePlanError,
    StoreError,
)
from ftjobs.jobs import preset as presets
from ftjobs.jobs.budget import Estimate, check_budget, estimate
from ftjobs.jobs.creation import Creation
from ftjobs.jobs.fields import build, suggest
from ftjobs.jobs.files import ensure_file, find_file, sha256_of
from ftjobs.jobs.fit import counted, foretold
from ftjobs.jobs.identity import adoptable, ended_in_vain, identity_of, jobs_of, mark
from ftjobs.jobs.ledger import Ledger
from ftjobs.jobs.preflight import Note, preflight
from ftjobs.schema import IDENTITY, Hyperparameters, Job, JobSpec

Source = Dataset | Path | str
"""A checked dataset, or the path of one to check."""

Say = Callable[[str], None]

WARNINGS = 5  # of each dataset that a plan repeats
SEE_ALL = "ftjobs data check shows all of them."

CONVERT = "ftjobs data convert FILE -o OUT"  # as the checker's hints say it

FRESH = 60  # seconds for which a plan's look at the service holds

PATIENCE = RetryPolicy(total=300.0)
"""How long `apply` tries to create a job."""


class PlannedFile(BaseModel):
    """A checked file of a job.

    `path` is as the user gave it, `bytes` its size.  `file_id` is the service's file with the
    same bytes, None where it will be uploaded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    sha256: str
    bytes: int
    examples: int
    file_id: str | None = None


class Plan(BaseModel):
    """What a submission would do.

    Attributes:
        version: of this format.
        created_at: when it was made, in Unix seconds.
        backend: where the job would run.
        spec: the job; its files are paths.
        files: the files by the spec's field.
        identity: of the job's content (`ftjobs.jobs.identity`).
        adopt: the id of the job with this content that exists already; it would be taken.
        cost: the estimate; None where it was not asked for, or nothing would be created.
        fit: the memory and time that it would take; None where the backend does not foretell it.
        max_cost: the most that the job may cost, in US dollars.
        allow_unknown_cost: whether a job of unknown price may start under `max_cost`.
        notes: what to know before it starts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    created_at: int
    backend: str
    spec: JobSpec
    files: Mapping[str, PlannedFile]
    identity: str
    adopt: str | None = None
    cost: Estimate | None = None
    fit: Fit | None = None
    max_cost: float | None = None
    allow_unknown_cost: bool = False
    notes: tuple[Note, ...] = ()

    @property
    def errors(self) -> tuple[Note, ...]:
        """The notes that say why the job cannot run."""
        return tuple(note for note in self.notes if note.level == "error")


def plan_job(
    backend: Trainer,
    train: Source,
    *,
    validation: Source | None = None,
    preset: str | os.PathLike[str] | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    ledger: Ledger | None = None,
    max_cost: float | None = None,
    allow_unknown_cost: bool = False,
    priced: bool = True,
    prices: Mapping[str, Price] | None = None,
    again: bool = False,
    **fields: Any,
) -> Plan:
    """What submitting would do.  `fields` are those of `JobSpec`: model, method, suffix, …

    Args:
        backend: where the job would run.
        train: the training examples.
        validation: examples for `valid_loss`; None for none.
        preset: hyperparameters by name, or of a file (`ftjobs.jobs.preset`).
        hyperparameters: fields of `Hyperparameters`; they win over the preset's.
        ledger: what this machine has sent before.
        max_cost: the most that the job may cost, in US dollars.
        allow_unknown_cost: let a job of unknown price start all the same.
        priced: whether to estimate the cost, which counts tokens; `max_cost` asks for it too.
            A local job's small files are counted in any case, to see whether it fits.
        prices: by model (`ftjobs.data.cost.load_prices`); None takes those that ship with ftjobs.
        again: another job, even where one with this content exists.  If that was interrupted, the
            ledger knows, and the other job is made once.
        fields: the rest of the job.

    Raises:
        ConfigError: an unknown or impossible setting, or a file that cannot be read.
        UnsupportedError: this backend lacks the method, a hyperparameter, or metadata.
        DatasetError: a file has errors, or has too few examples for this backend.
        BackendError: the backend cannot be asked.
    """
    spec = _draft(presets.settings(preset, hyperparameters or {}), fields)
    check_supported(spec, backend.capabilities, backend.name)
    least = backend.capabilities.min_examples
    datasets = {"training_file": _checked(train, spec, backend, least=least)}
    files = {"training_file": _planned(train, datasets["training_file"], backend, ledger)}
    if validation is not None:
        datasets["validation_file"] = _checked(validation, spec, backend, least=1)
        files["validation_file"] = _planned(
            validation, datasets["validation_file"], backend, ledger
        )
    spec = spec.model_copy(update={field: str(file.path) for field, file in files.items()})
    identity = _identity(spec, files)
    if again:
        # One that was interrupted is gone on with: it may be there, and paid for.
        begun = ledger.another(backend.name, identity) if ledger else None
        identity = begun or _identity(spec, files, salt=secrets.token_hex(8))
    mark(spec, identity, backend.capabilities)  # refuses now what would be refused later
    existing = adoptable(_found(backend, identity, ledger))
    plan = Plan(
        created_at=int(time.time()),
        backend=backend.name,
        spec=spec,
        files=files,
        identity=identity,
        adopt=existing and existing.id,
        max_cost=max_cost,
        allow_unknown_cost=allow_unknown_cost,
    )
    if existing is not None:
        return plan
    priced = priced or max_cost is not None
    found = counted(backend, spec, files, thorough=priced)
    fit, trouble = foretold(backend, spec, found)
    return plan.model_copy(
        update={
            "notes": (
                *chain.from_iterable(map(_warnings, datasets.values())),
                *preflight(backend, spec, files, today=dt.datetime.now(dt.UTC).date()),
                *trouble,
            ),
            "cost": estimate(backend, spec, files, prices=prices, counted=found)
            if priced
            else None,
            "fit": fit,
        }
    )


def apply(
    backend: Trainer,
    plan: Plan,
    *,
    ledger: Ledger | None = None,
    progress: Progress | None = None,
    say: Say = lambda _sentence: None,
    retry: RetryPolicy = PATIENCE,
) -> Job:
    """Carry a plan out: the job that it is about, made now or before.

    It may be killed anywhere and called again, here or on another machine: there is one job.

    Args:
        backend: the one that the plan was made for.
        plan: what to do.
        ledger: what this machine has sent before.
        progress: called with (bytes sent, bytes in all) of each file in turn.
        say: told in a sentence what was found and what takes time.
        retry: how long to try to create the job, and the clock.

    Raises:
        StalePlanError: data, job or service have moved since the plan was made.
        ConfigError: a file cannot be read.
        FtjobsError: the plan says itself why the job cannot run.
        CostError: the job could cost more than the plan allows.
        BackendError: the backend refused a file or the job, or could not be reached.
    """
    if plan.backend != backend.name:
        raise StalePlanError(
            f"this plan is for {plan.backend}, not for {backend.name}",
            hint=f"Apply it there, or make a plan for {backend.name}.",
        )
    stamps = {field: _unmoved(file) for field, file in plan.files.items()}
    with ledger.alone(plan.identity, say) if ledger else nullcontext():
        found = _found(backend, plan.identity, ledger)
        past = frozenset(job.id for job in found if ended_in_vain(job))
        creation = Creation(backend, plan.spec, plan.identity, past, retry, say)
        if (job := adoptable(found)) is not None:
            return _adopted(job, plan, ledger, creation)
        if plan.adopt is not None:
            raise _stale(plan)
        check_sound(plan)
        _check_service(backend, plan)
        spec = plan.spec
        for field, file in plan.files.items():
            sent = ensure_file(
                backend,
                file.path,
                file.sha256,
                file.bytes,
                stamp=stamps[field],
                ledger=ledger,
                progress=progress,
                sleep=retry.sleep,
                now=retry.now,
            )
            spec = spec.model_copy(update={field: sent.id})
        creation.spec = mark(spec, plan.identity, backend.capabilities)
        return _created(plan, ledger, creation)


# --- the parts of a plan ------------------------------------------------------------------------


def _draft(hyperparameters: Mapping[str, Any], fields: Mapping[str, Any]) -> JobSpec:
    """The job but for its files, whose places are known only once they are checked."""
    known = Hyperparameters.model_fields
    if unknown := sorted(set(hyperparameters) - set(known)):
        raise ConfigError(f"unknown hyperparameter {unknown[0]!r}", hint=suggest(unknown[0], known))
    given = {name: value for name, value in fields.items() if value is not None}
    chosen = build(Hyperparameters, hyperparameters)
    return build(JobSpec, {**given, "training_file": "to upload", "hyperparameters": chosen})


def _identity(spec: JobSpec, files: Mapping[str, PlannedFile], *, salt: str = "") -> str:
    hashes = {field: file.sha256 for field, file in files.items()}
    return identity_of(spec, hashes["training_file"], hashes.get("validation_file"), salt=salt)


def _planned(
    source: Source, dataset: Dataset, backend: Trainer, ledger: Ledger | None
) -> PlannedFile:
    found = dataset.manifest
    there = find_file(backend, found.sha256, found.bytes, ledger=ledger)
    return PlannedFile(
        path=dataset.path if isinstance(source, Dataset) else Path(source),
        sha256=found.sha256,
        bytes=found.bytes,
        examples=found.rows,
        file_id=there and there.id,
    )


def _warnings(dataset: Dataset) -> Iterator[Note]:
    """The first of a dataset's warnings, and how many more there are."""
    for issue in dataset.warnings[:WARNINGS]:
        yield Note(level="warning", text=str(issue), hint=issue.hint)
    if (more := len(dataset.warnings) - WARNINGS) > 0:
        yield Note(level="warning", text=f"{dataset.path}: {more} more warnings", hint=SEE_ALL)


def _checked(source: Source, spec: JobSpec, backend: Trainer, *, least: int) -> Dataset:
    """`source`, once it is known to hold at least `least` sound examples.

    A `Dataset` is checked again too: by this backend's rules, and as the file is now.
    """
    path = Path(source.path if isinstance(source, Dataset) else source)
    try:
        dataset = read(path, target=target_of(backend))
    except DatasetError as error:
        raise _with_the_way(error, path) from None
    found = dataset.manifest
    method = "supervised" if found.method == "completion" else found.method
    if method != spec.method:
        raise DatasetError(
            f"{path}: these are {found.method} examples, and the method is {spec.method}",
            hint=f"Choose the method {method}, or another file.",
        )
    if found.compression is not None:
        raise DatasetError(
            f"{path}: a compressed file can be checked, but not uploaded",
            hint="Decompress it: gzip -dk FILE, or zstd -d FILE.",
        )
    if found.rows < least:
        raise DatasetError(
            f"{path}: {found.rows} example(s), but {backend.name} needs at least {least}",
            hint="Add examples: 50 to 100 good ones are a sound start.",
        )
    return dataset


def _with_the_way(error: DatasetError, path: Path) -> DatasetError:
    """`error`, its hint a command that can be copied where the file is of another format.

    What is uploaded is always a file that was looked at: nothing is converted on the way.
    """
    if CONVERT not in error.hint:
        return error
    out = path.with_suffix(".chat.jsonl" if path.suffix == ".jsonl" else ".jsonl")
    names = " -o ".join(shlex.quote(str(each)) for each in (path, out))
    hint = error.hint.replace(f"{CONVERT}.", f"ftjobs data convert {names}")
    return DatasetError(error.message, hint=f"{hint}\nThen train on {out}", issues=error.issues)


def target_of(backend: Trainer) -> str:
    """Whose rules a dataset is checked by: those of the wire for a service of no known name."""
    return backend.name if backend.name in TARGETS else "wire"


def _found(backend: Trainer, identity: str, ledger: Ledger | None) -> list[Job]:
    """The jobs with this content, by what the service lists and what this machine remembers."""
    found = jobs_of(backend, identity)
    intent = ledger.intent(backend.name, identity) if ledger else None
    known = intent and intent.job_id
    if known and known not in {job.id for job in found}:  # lists lag
        with suppress(*PERMANENT):  # deleted, or another account's
            job = backend.retrieve(known)
            if job.metadata.get(IDENTITY, identity) == identity:  # no new service's with an old id
                found.append(job)
    return found


# --- carrying it out ----------------------------------------------------------------------------


def _adopted(job: Job, plan: Plan, ledger: Ledger | None, creation: Creation) -> Job:
    """The job with this content that exists already, its doubles cancelled."""
    is_another = plan.identity != _identity(plan.spec, plan.files)
    creation.say(
        f"job {job.id} with this content exists ({job.status}): adopted"
        + ("" if is_another else "; ftjobs submit --again makes another")
    )
    if job.status == "succeeded" and not job.fine_tuned_model:
        creation.say("its model is gone")
    if job.status == "paused":
        creation.say(f"it goes on with: ftjobs jobs resume {job.id}")
    return _settled(job, plan, ledger, creation)


def _settled(job: Job, plan: Plan, ledger: Ledger | None, creation: Creation) -> Job:
    """`job`, or the one that it is a double of, remembered."""
    if ledger is None:
        return creation.without_double(job)
    with _as_far_as_possible(creation.say):
        ledger.remember_job(plan.backend, plan.identity, job.id)
    kept = creation.without_double(job)
    with _as_far_as_possible(creation.say):
        ledger.settle(plan.backend, plan.identity, kept.id)
    return kept


@contextmanager
def _as_far_as_possible(say: Say) -> Iterator[None]:
    """Write to the ledger; that it cannot be written must not hide a job that is paid for."""
    try:
        yield
    except StoreError as error:
        say(f"not remembered here: {error.message}")


def check_sound(plan: Plan) -> None:
    """Refuse a plan to create a job that must not be created.

    Raises:
        FtjobsError: the plan says itself why the job cannot run.
        CostError: the job could cost more than it may.
    """
    if plan.errors:
        first, more = plan.errors[0], len(plan.errors) - 1
        rest = f" (and {more} more)" if more else ""
        raise FtjobsError(f"this job cannot run: {first.text}{rest}", hint=first.hint)
    check_budget(plan.cost, plan.max_cost, plan.allow_unknown_cost)


def _stale(plan: Plan) -> StalePlanError:
    return StalePlanError(
        f"job {plan.adopt}, which this plan counts on, has ended without a model",
        hint="Plan again: a new job would cost money that this plan does not speak of.",
    )


def _check_service(backend: Trainer, plan: Plan) -> None:
    """Refuse a plan that the service could not carry out any more."""
    if time.time() - plan.created_at < FRESH:
        return
    for note in preflight(backend, plan.spec, plan.files, today=dt.datetime.now(dt.UTC).date()):
        if note.level == "error":
            raise StalePlanError(f"since the plan was made: {note.text}", hint=note.hint)


def _created(plan: Plan, ledger: Ledger | None, creation: Creation) -> Job:
    """A new job, with every step on disk before the next is taken."""
    if ledger is None:
        return creation.without_double(creation.job())
    intent = ledger.intent(plan.backend, plan.identity)
    if intent is not None and intent.job_id is None:  # killed before the answer
        creation.doubt()
    ledger.intend(plan.backend, plan.identity, _identity(plan.spec, plan.files))
    try:
        job = creation.job()
    except PERMANENT:
        if not creation.unsure:
            with _as_far_as_possible(creation.say):
                ledger.forget(plan.backend, plan.identity)
        raise
    return _settled(job, plan, ledger, creation)


def _unmoved(file: PlannedFile) -> tuple[int, int]:
    """The stamp of a file that is the planned one."""
    stamp = stamp_of(file.path)
    if sha256_of(file.path) != (file.sha256, file.bytes):
        raise StalePlanError(
            f"{file.path}: the file has changed since the plan was made", hint="Plan again."
        )
    return stamp
