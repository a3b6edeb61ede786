"""Which job is whose: the identity of a job's content, and the jobs that carry it.

Two submissions of the same content are one intent, from whatever machine they come.  The
identity travels with the job, in its metadata or at the end of its suffix, so that any machine
can find the job again without having kept anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from ftjobs.backends.base import Trainer
from ftjobs.errors import ConfigError
from ftjobs.schema import IDENTITY, Capabilities, Job, JobSpec

LENGTH = 32  # hexadecimal digits, 128 bits
SHORT = 12  # of them where only a suffix can carry it
CANCELLING = frozenset({"cancelling", "cancel_requested"})
PAIRS = 16  # of metadata on the wire


def identity_of(
    spec: JobSpec, train_sha256: str, validation_sha256: str | None = None, *, salt: str = ""
) -> str:
    """The identity of a job's content: 32 hexadecimal digits.

    It covers the bytes of the files, model, method, the hyperparameters that were given, seed
    and suffix; not metadata, which says who asked and why, nor integrations, which say who is
    told.  `salt` makes another of it.
    """
    content = {
        "version": 1,
        "training_file": train_sha256,
        "validation_file": validation_sha256,
        "model": spec.model,
        "method": spec.method,
        "hyperparameters": spec.hyperparameters.given(),
        "seed": spec.seed,
        "suffix": spec.suffix,
        "salt": salt,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:LENGTH]


def mark(spec: JobSpec, identity: str, capabilities: Capabilities) -> JobSpec:
    """`spec` with its identity where the backend keeps it.

    Raises:
        ConfigError: there is no room left for it.
    """
    if capabilities.identity == "metadata":
        if len({*spec.metadata, IDENTITY}) > PAIRS:
            raise ConfigError(
                f"metadata: at most {PAIRS - 1} pairs; one more is ftjobs' own ({IDENTITY})"
            )
        return spec.model_copy(update={"metadata": {**spec.metadata, IDENTITY: identity}})
    suffix = _suffix(spec.suffix, identity)
    if len(suffix) > capabilities.longest_suffix:
        most = capabilities.longest_suffix - SHORT - 1
        raise ConfigError(
            f"suffix: at most {most} characters here",
            hint="This service keeps no metadata, so the job's identity goes into its suffix.",
        )
    return spec.model_copy(update={"suffix": suffix})


def carries(job: Job, identity: str) -> bool:
    """Whether `job` was submitted with this identity."""
    if IDENTITY in job.metadata:
        return job.metadata[IDENTITY] == identity
    end = f"-{identity[:SHORT]}"
    names = (job.suffix or "", *(job.fine_tuned_model or "").split(":"))
    return any(name.casefold().endswith(end) for name in names)  # some services fold the case


def jobs_of(backend: Trainer, identity: str) -> list[Job]:
    """The jobs that carry this identity, oldest first, as far as the service lists them yet."""
    metadata = {IDENTITY: identity} if backend.capabilities.identity == "metadata" else None
    found = {job.id: job for job in backend.jobs(metadata=metadata) if carries(job, identity)}
    return sorted(found.values(), key=_age)


def adoptable(jobs: Iterable[Job]) -> Job | None:
    """The job to go on with instead of creating one: the oldest that has not ended in vain."""
    return next((job for job in jobs if not ended_in_vain(job)), None)


def ended_in_vain(job: Job) -> bool:
    """Whether a job is over without a model, or is being cancelled."""
    return job.status in CANCELLING or (job.ended and job.status != "succeeded")


def _age(job: Job) -> tuple[int, str]:
    return job.created_at, job.id


def _suffix(given: str | None, identity: str) -> str:
    return f"{given or 'ftjobs'}-{identity[:SHORT]}"
