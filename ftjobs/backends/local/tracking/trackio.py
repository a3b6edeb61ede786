"""Trackio, which keeps runs on this machine unless its own variables say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftjobs.backends.local.tracking.sink import Numbers, Tracked


class TrackioSink:
    """A run that is known by its name, which therefore holds the end of the job's id."""

    def __init__(self, settings: Mapping[str, Any], job: Tracked) -> None:
        import trackio

        name = settings.get("name")
        self._run = trackio.init(
            settings["project"],
            name=f"{name}-{job.short}" if name else job.job_id,
            resume="allow",
            config=dict(job.config),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        # Trackio has no public name for the step that a resumed run goes on with.
        self._next = int(self._run._next_step)

    def last_step(self) -> int:
        """See `Sink`."""
        return self._next - 1

    def log(self, step: int, numbers: Numbers) -> None:
        """See `Sink`."""
        self._run.log(dict(numbers), step=step)

    def finish(self, status: str, model: str | None) -> None:  # noqa: ARG002 — the protocol's
        """See `Sink`.  Trackio knows neither how a run ended nor what came of it."""
        self._run.finish()
