"""A job's steps → its integrations, without any of them getting into the job's way.

The store is the truth: a thread for each integration reads what was recorded there and passes on
what the run elsewhere does not hold yet.  So nothing waits for a network, nothing is lost in a
queue, and after a crash the next worker makes up for what is missing, each step once.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ftjobs.backends.local.group import GroupLost
from ftjobs.backends.local.models import BaseModel
from ftjobs.backends.local.store import LeaseLost, News, Store
from ftjobs.backends.local.tracking.sink import Numbers, Sink, Tracked, tracked
from ftjobs.errors import FtjobsError, StoreError
from ftjobs.integrations import Integration
from ftjobs.schema import Event

PULSE = 1.0
"""Seconds between two looks at the store."""
AGAIN = 60.0
"""Seconds until an integration that failed is tried again."""
GRACE = 15.0
"""Seconds in which integrations may finish once the job has left this worker."""
_runs: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""Who follows a job: one thread at a time, though a slow one may outstay its worker's turn."""
_SECRET = re.compile(r"(KEY|TOKEN|PASSWORD|SECRET|URI|URL)$")
_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@]*@")
"""An address with a user and a password."""
_SHORTEST, _LONGEST = 6, 200  # characters of a secret; of another library's message


class Following:
    """The integrations of one job in the hands of one worker: a context around its training.

    No failure of an integration comes out of here: the first one of each becomes an event of level
    "warn", and the integration is tried again every `AGAIN` seconds.
    """

    def __init__(self, store: Store, owner: str, job_id: str, base: BaseModel) -> None:
        self._store, self._job_id = store, job_id
        integrations = store.spec(job_id).integrations
        job = tracked(store, job_id, base) if integrations else None
        self._threads = [_Follower(store, owner, each, job) for each in integrations if job]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._threads:
            return
        status, model = self._outcome(error)
        for thread in self._threads:
            thread.leave(status, model)
        end = time.monotonic() + GRACE
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _outcome(self, error: BaseException | None) -> tuple[str, str | None]:
        """How the job leaves this worker, and its model: see `worker.run_job`."""
        if isinstance(error, LeaseLost):
            return error.status, None
        if error is not None:
            goes_on = not isinstance(error, Exception) or isinstance(error, StoreError | GroupLost)
            return ("running" if goes_on else "failed"), None
        try:
            job = self._store.job(self._job_id)
        except FtjobsError:
            return "running", None
        return job.status, job.fine_tuned_model


class _Follower(threading.Thread):
    """One integration of one job."""

    def __init__(self, store: Store, owner: str, integration: Integration, job: Tracked) -> None:
        super().__init__(name=f"{integration['type']} of {job.job_id}", daemon=True)
        self._store, self._owner, self._job = store, owner, job
        self._kind, self._settings = integration["type"], integration[integration["type"]]
        self._run = f"{job.job_id} {integration}"
        self._left = threading.Event()
        self._end: tuple[str, str | None] = ("running", None)
        self._has_warned = False

    def leave(self, status: str, model: str | None) -> None:
        """Say that nothing more will be recorded."""
        self._end = (status, model)
        self._left.set()

    def run(self) -> None:
        """Follow the job until it is left; try again where that fails."""
        while True:
            was_left = self._left.is_set()
            try:
                with _runs[self._run]:
                    self._follow(opened(self._kind, self._settings, self._job))
            except Exception as error:  # noqa: BLE001 — another library, a network, a disk
                self._warn(error)
            else:
                return
            if was_left:
                return
            self._left.wait(AGAIN)

    def _follow(self, sink: Sink) -> None:
        last, cursor = sink.last_step(), None
        while True:
            was_left = self._left.is_set()  # asked before the look, which then misses nothing
            for event in self._store.events(self._job.job_id, cursor):
                cursor = event.id
                step = event.metrics.step if event.metrics else None
                if step is not None and step > last:
                    sink.log(step, numbers_of(event))
                    last = step
            if was_left:
                sink.finish(*self._end)
                return
            self._left.wait(PULSE)

    def _warn(self, error: Exception) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        reason = said(error)
        line = f"The metrics do not reach {self._kind}: {reason}. The job goes on without it"
        print(f"{self._job.job_id}: {line}", flush=True)  # noqa: T201 — the worker's log
        news = News(f"tracking:{self._kind}", line, level="warn")
        try:
            self._store.record(self._job.job_id, self._owner, [news])
        except (LeaseLost, StoreError):
            return  # it has ended, or stands still: the log has it


def opened(kind: str, settings: Mapping[str, Any], job: Tracked) -> Sink:
    """The run of a job in the tool `kind`, made or found.  Raises whatever its library does."""
    if kind == "wandb":
        from ftjobs.backends.local.tracking.wandb import WandbSink

        return WandbSink(settings, job)
    if kind == "mlflow":
        from ftjobs.backends.local.tracking.mlflow import MLflowSink

        return MLflowSink(settings, job)
    if kind == "trackio":
        from ftjobs.backends.local.tracking.trackio import TrackioSink

        return TrackioSink(settings, job)
    from ftjobs.backends.local.tracking.tensorboard import TensorBoardSink

    return TensorBoardSink(settings, job)


def numbers_of(event: Event) -> Numbers:
    """What was measured in a step, without its number and how many there are."""
    return {
        name: float(value)
        for name, value in event.data.items()
        if name not in ("step", "total_steps") and isinstance(value, int | float)
    }


def said(error: Exception, environ: Mapping[str, str] = os.environ) -> str:
    """What another library says went wrong: one short line without any secret of `environ`."""
    text = " ".join(str(error).split())
    for name, value in environ.items():
        if len(value) >= _SHORTEST and _SECRET.search(name):
            text = text.replace(value, "[key]")
    text = _ADDRESS.sub(r"\1", text)[:_LONGEST].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
