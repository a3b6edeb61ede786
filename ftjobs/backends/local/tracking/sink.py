"""What every integration is: a run elsewhere that is told a job's steps, each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ftjobs.backends.local.export import about
from ftjobs.backends.local.models import BaseModel
from ftjobs.backends.local.store import Store

Numbers = Mapping[str, float]
"""Of one step, under the names of the job's events and of its result file."""


@dataclass(frozen=True)
class Tracked:
    """A job as integrations see it.

    `folder` is theirs to write to.  `config` is what the job was made from: recipe, base model and
    hashes of the data; no text of an example, no key, no path.
    """

    job_id: str
    folder: Path
    config: Mapping[str, Any]

    @property
    def short(self) -> str:
        """The end of the job's id, by which its models are called too."""
        return self.job_id[-8:]


class Sink(Protocol):
    """A run of another tool.  Made by every worker of a job, it is the same run for all of them.

    Any method may raise whatever its library does: the caller sees to it that the job goes on.
    """

    def last_step(self) -> int:
        """The last step that it holds; -1 if there is none."""
        ...

    def log(self, step: int, numbers: Numbers) -> None:
        """Take the numbers of a step, which is above all before."""
        ...

    def finish(self, status: str, model: str | None) -> None:
        """Let go of the run.

        `status` is the job's: "succeeded", "failed" and "cancelled" end it; by any other word
        ("paused", "queued", "running") it will be gone on with.  `model` is the fine-tuned one.
        """
        ...


def tracked(store: Store, job_id: str, base: BaseModel) -> Tracked:
    """A job whose recipe is fixed, as integrations see it."""
    known = about.of_base(base)
    training = about.of_step(store, job_id, 0, "")
    files = {
        f"{file.purpose}_{name}": value
        for file in training.files
        for name, value in (("sha256", file.sha256), ("examples", file.rows))
    }
    config = {
        "job_id": job_id,
        "base_model": known.base_name,
        "base_fingerprint": known.fingerprint,
        "licence": known.licence.id if known.licence else None,
        **files,
        **training.recipe,
    }
    return Tracked(job_id, store.job_folder(job_id) / "tracking", config)
