"""Watching 200 running jobs from one process, over loopback, for two minutes.

    python -m tests.benchmarks.watch       # prints; `watching()` is for the whole run

The service is a process of its own; every job has an event about every ten seconds that carries
the time at which it happened.  The watcher's processor time covers everything but the display:
HTTP, JSON, schema, and the following itself.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing
from typing import Any

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import WatchTimeout
from ftjobs.jobs.fleet import RATE, follow_all
from ftjobs.schema import Event, Job, JobSpec
from tests import service

JOBS = 200
SECONDS = 120.0
EVENT_EVERY = 10.0  # seconds, of each job


class Endless(FakeBackend):
    """Jobs that run for ever, in the time of day, and say when each event happened."""

    def retrieve(self, job_id: str) -> Job:
        return self._run(job_id).job

    def start(self, count: int) -> None:
        file = self._keep("train.jsonl", b"{}\n" * 12, "fine-tune")
        for _ in range(count):
            job = self.create(JobSpec(model="fake-base", training_file=file.id))
            super().retrieve(job.id)
            super().retrieve(job.id)

    def happen(self, rng: random.Random) -> None:
        """One event of a random job."""
        run = self._runs[rng.choice(list(self._runs))]
        data = {
            "step": len(run.events),
            "total_steps": 10_000,
            "train_loss": 1.0,
            "at": time.time(),
        }
        self._changes += 1
        event = Event(
            id=f"e{self._changes}",
            created_at=int(time.time()),
            message=f"Step {len(run.events)}/10000: training loss=1.00",
            type="metrics",
            data=data,
        )
        run.events.append(event)


def serve() -> None:
    """The service's process: prints its address, and at the end what it was asked for."""
    backend, rng = Endless(), random.Random(1)
    backend.start(JOBS)
    stop = threading.Event()

    def live() -> None:
        while not stop.wait(rng.expovariate(JOBS / EVENT_EVERY)):
            backend.happen(rng)

    with service.running(backend) as loopback:
        thread = threading.Thread(target=live)
        thread.start()
        print(loopback.url, flush=True)
        sys.stdin.readline()
        stop.set()
        thread.join()
        print(json.dumps([request.path for request in loopback.requests]), flush=True)


def watch(url: str) -> dict[str, Any]:
    """Watch in this process, and measure."""
    late, cycles, began = [], [], time.time()
    with closing(WireBackend("bench", ANY_URL.at(url), service.KEY)) as backend:
        ids = [job.id for job in backend.jobs()]
        used = time.process_time()
        try:
            for tick in follow_all(backend, ids, timeout=SECONDS):
                if tick.job.id == ids[0]:
                    cycles.append(time.time())
                now = time.time()
                late += [now - e.data["at"] for e in tick.events if e.data.get("at", 0) > began]
        except WatchTimeout:
            pass
        cpu = time.process_time() - used
    return {"cpu": cpu / (time.time() - began), "late": late, "cycles": len(cycles)}


def watching() -> None:
    """Print requests, processor time and latency.  Limits: 5 % of a core, two intervals."""
    code = "from tests.benchmarks.watch import serve; serve()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True
    ) as there:
        assert there.stdout is not None
        assert there.stdin is not None
        found = watch(there.stdout.readline().strip())
        there.stdin.write("\n")
        there.stdin.flush()
        paths = json.loads(there.stdout.readline())
    lists = paths.count("/fine_tuning/jobs") / found["cycles"]
    calls = sum(path.endswith("/events") for path in paths) / found["cycles"]
    late, interval = found["late"], (2 + 1 + JOBS / 2) / RATE
    print(
        f"watching {JOBS} running jobs: {found['cycles']} cycles, interval {interval:.1f} s, "
        f"{len(paths) / found['cycles']:.0f} requests a cycle "
        f"({lists:.1f} of lists, {calls:.0f} of events), {found['cpu']:.1%} of a core\n"
        f"    {len(late)} events, seen after {statistics.median(late):.1f} s (median), "
        f"{max(late):.1f} s at most = {max(late) / interval:.2f} intervals",
        flush=True,
    )


if __name__ == "__main__":
    watching()
