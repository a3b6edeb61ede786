"""Weights & Biases.  Its mode, its server and its key are those of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftjobs.backends.local.tracking.sink import Numbers, Tracked

_QUIET: Mapping[str, Any] = {
    "console": "off", "silent": True, "disable_git": True, "disable_code": True,
    "save_code": False, "disable_job_creation": True, "host": "", "username": "",
    "x_disable_stats": True, "x_disable_meta": True, "x_disable_machine_info": True,
    "x_save_requirements": False,
}  # fmt: skip
"""Settings of wandb: nothing of this machine is sent, neither output nor command line nor code."""


class WandbSink:
    """A run whose id is the job's.

    A server says which steps it holds.  Offline nobody does, so the last one is written down
    beside; each worker then leaves a folder of its own, of which `wandb sync` makes one run.
    """

    def __init__(self, settings: Mapping[str, Any], job: Tracked) -> None:
        import wandb

        job.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=settings["project"],
            entity=settings.get("entity"),
            name=settings.get("name") or job.job_id,
            tags=settings.get("tags"),
            id=job.job_id,
            resume="allow",
            reinit="create_new",
            dir=Path(os.environ.get("WANDB_DIR") or job.folder),
            config=dict(job.config),
            allow_val_change=True,
            settings=wandb.Settings(**_QUIET),
        )
        self._note = job.folder / f"wandb-{self._run.entity}-{self._run.project}.step"

    def last_step(self) -> int:
        """See `Sink`."""
        if not self._run.offline:
            return int(self._run.step) - 1 if self._run.resumed else -1
        return int(self._note.read_text()) if self._note.exists() else -1

    def log(self, step: int, numbers: Numbers) -> None:
        """See `Sink`."""
        self._run.log(dict(numbers), step=step, commit=True)
        if self._run.offline:
            new = self._note.with_suffix(".new")
            new.write_text(str(step))
            new.replace(self._note)

    def finish(self, status: str, model: str | None) -> None:
        """See `Sink`."""
        self._run.summary.update(
            {"status": status, **({"fine_tuned_model": model} if model else {})}
        )
        self._run.finish(exit_code=int(status in ("failed", "cancelled")))
