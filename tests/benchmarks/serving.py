"""Chats at once through the local backend, alone on the machine and beside a training job.

    python -m tests.benchmarks.serving     # prints; `serving()` is for the whole run

All are streams of `LocalBackend`, greedy, of the default model.  The job is of the same model, in
its worker's own process.  Times of a job are taken from one step to a later one, alone and beside
the streams in turn.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.schema import ChatMessage, Hyperparameters, Job, JobSpec, Sampling
from tests.backends.local.conftest import stop_worker

ROOT = Path(__file__).parents[2]
AT_ONCE = 16
MANY = 50
TOKENS = 32
GREEDY = Sampling(temperature=0, max_tokens=TOKENS, min_tokens=TOKENS)
WINDOW = 12.0
"""Seconds in which a job's speed is taken."""


@dataclass
class Heard:
    """What the streams gave: tokens, and seconds to each first piece."""

    firsts: list[float] = field(default_factory=list)
    tokens: int = 0


def serving() -> None:
    """Print throughput (limit: 4 times), waits for the first piece, and the job's share (0.5)."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
        backend = LocalBackend(Settings(home=Path(folder) / "home", cache=cache))
        chat(backend, 0)  # loads the model
        lone(backend)
        at_once(backend)
        beside_training(backend)
        backend.close()


def lone(backend: LocalBackend) -> None:
    """A stream that shares its batch with nobody, against the engine asked without one."""
    (desk,) = backend._answering._desks.values()
    engine = desk.engine
    question = engine.question([{"role": "user", "content": prompt(1)}], GREEDY)
    pairs = [
        (seconds(lambda: chat(backend, 1)), seconds(lambda: list(engine.say(question))))
        for _ in range(3)
    ]
    ratio = statistics.median(alone / ours for ours, alone in pairs)
    print(f"one stream: {TOKENS / pairs[-1][0]:.1f} t/s, {ratio:.2f} times the engine's own")


def at_once(backend: LocalBackend) -> None:
    """16 streams in as many threads, against as many one after another."""

    def together() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda number: chat(backend, number), range(AT_ONCE)))

    def in_turn() -> None:
        for number in range(few):
            chat(backend, number)

    few = AT_ONCE // 4  # of those that come one after another: each takes as long
    pairs = [(seconds(together), seconds(in_turn)) for _ in range(2)]
    ratio = statistics.median(alone / ours for ours, alone in pairs) * AT_ONCE / few
    rate = AT_ONCE * TOKENS / pairs[-1][0]
    print(f"{AT_ONCE} streams: {rate:.0f} t/s, {ratio:.1f} times those of one at a time")


def beside_training(backend: LocalBackend) -> None:
    """50 streams that begin again and again, beside a job."""
    with training(backend) as job:
        for _ in range(2):
            quiet = speed(backend, job)
            with talking(backend, MANY) as heard:
                until(lambda: len(heard.firsts) >= MANY)
                began, tokens = time.monotonic(), heard.tokens
                beside = speed(backend, job)
                rate = (heard.tokens - tokens) / (time.monotonic() - began)
            firsts = statistics.quantiles(heard.firsts, n=20)
            print(
                f"{MANY} streams beside a job: {rate:.0f} t/s, first piece after "
                f"{statistics.median(heard.firsts):.1f} s (p95 {firsts[18]:.1f} s); the job keeps "
                f"{beside / quiet:.2f} of its {quiet:.2f} steps/s",
                flush=True,
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"    at the peak, the process that answers took {peak:,.0f} MiB")


def chat(backend: LocalBackend, number: int, heard: Heard | None = None) -> None:
    """One stream to its end."""
    began = time.monotonic()
    messages = (ChatMessage(role="user", content=prompt(number)),)
    for place, _ in enumerate(backend.stream(models.DEFAULT_MODEL, messages, sampling=GREEDY)):
        if heard and not place:
            heard.firsts.append(time.monotonic() - began)
        if heard:
            heard.tokens += 1  # a piece is a token, but for parts of characters


def prompt(number: int) -> str:
    return f"Tell me a short story about a cat and {number} mice, and let it end well."


@contextmanager
def talking(backend: LocalBackend, count: int) -> Iterator[Heard]:
    """Streams in threads of their own, each begun again when it ends, until the block does."""
    heard, stop = Heard(), threading.Event()

    def talk(number: int) -> None:
        while not stop.is_set():
            chat(backend, number, heard)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def training(backend: LocalBackend) -> Iterator[Job]:
    """A job that runs for as long as the block."""
    file = backend.upload(ROOT / "datasets" / "support" / "train.jsonl")
    settings = Hyperparameters(n_epochs=50, batch_size=1)
    job = backend.create(
        JobSpec(model=models.DEFAULT_MODEL, training_file=file.id, hyperparameters=settings)
    )
    try:
        until(lambda: backend.retrieve(job.id).status == "running" and steps(backend, job) > 5)
        yield job
    finally:
        backend.cancel(job.id)
        stop_worker(backend)


def speed(backend: LocalBackend, job: Job) -> float:
    """Steps a second, from the end of one step to that of another."""

    def next_step() -> tuple[int, float]:
        before = steps(backend, job)
        until(lambda: steps(backend, job) > before)
        return steps(backend, job), time.monotonic()

    first, began = next_step()
    time.sleep(WINDOW)
    last, ended = next_step()
    return (last - first) / (ended - began)


def steps(backend: LocalBackend, job: Job) -> int:
    found = [event.data["step"] for event in backend.events(job.id) if event.type == "metrics"]
    return max(found, default=0)


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.02)


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    serving()
