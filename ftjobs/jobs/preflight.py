"""Preflight: what a service would refuse, close or surprise with, found before anything is sent.

A note says what is the matter and what to do.  Notes of level "error" mean that the job cannot
run as it stands; warnings and infos stop nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ftjobs.backends.base import Trainer
from ftjobs.jobs.budget import Planned
from ftjobs.schema import JobSpec

__all__ = ["Note", "preflight"]


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

    Args:
        backend: where the job would run.
        spec: the job; the ids of its files do not matter.
        files: what it would train and validate on, by the spec's field.
        today: the day that dates are compared with.

    Raises:
        AuthError: the key is missing, wrong, or may not train.
    """
    raise NotImplementedError
