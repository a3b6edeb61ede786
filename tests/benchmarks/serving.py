"""Chats at once with `ftjobs serve`, alone on the machine and beside a training job.

    python -m tests.benchmarks.serving     # prints; `serving()` is for the whole run

All are streams over HTTP on loopback, greedy, of the default model; whoever asks shares the cores
with the server.  The job is of the same model, in its worker's own process.  Its speed is taken
from one step to a later one, alone and beside the streams in turn.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import openai

from ftjobs.backends.local import models
from tests.server.safety.house import House

ROOT = Path(__file__).parents[2]
AT_ONCE = 16
MANY = 50
TOKENS = 32
ROUNDS = 3
WINDOW = 15.0
"""Seconds in which a job's speed is taken."""


@dataclass
class Heard:
    """What the streams gave: pieces, of a token each, and seconds to each first one."""

    firsts: list[float] = field(default_factory=list)
    pieces: int = 0


def serving() -> None:
    """Print throughput (limit: 6 times), waits for the first piece, and the job's share (0.5)."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
        house = House(Path(folder), {"chats": MANY}, cache=cache)
        house.start()
        try:
            asyncio.run(_serving(house))
            print(f"    the server took {house.memory(peak=True) / 2**20:,.0f} MiB at the peak")
        finally:
            house.close()


async def _serving(house: House) -> None:
    async with httpx2.AsyncClient(
        base_url=house.url,
        timeout=120,
        trust_env=False,
        limits=httpx2.Limits(max_connections=2 * MANY),
    ) as client:
        await chat(client, 0)  # loads the model
        await at_once(client)
        async with training(house) as job:
            for _ in range(ROUNDS):
                await beside(client, house, job)


async def at_once(client: httpx2.AsyncClient) -> None:
    """16 streams together, against as many one after another."""

    async def together() -> None:
        await asyncio.gather(*(chat(client, number) for number in range(AT_ONCE)))

    async def in_turn() -> None:
        for number in range(few):
            await chat(client, number)

    few = AT_ONCE // 4  # of those that come one after another: each takes as long
    pairs = [(await seconds(together), await seconds(in_turn)) for _ in range(ROUNDS)]
    ratio = statistics.median(alone / ours for ours, alone in pairs) * AT_ONCE / few
    rate = AT_ONCE * TOKENS / statistics.median(ours for ours, _ in pairs)
    print(
        f"{AT_ONCE} streams: {rate:.0f} t/s, {ratio:.1f} times those of one at a time", flush=True
    )


async def beside(client: httpx2.AsyncClient, house: House, job: str) -> None:
    """50 streams that begin again and again, beside a job."""
    quiet = await speed(house, job)
    async with talking(client, MANY) as heard:
        while len(heard.firsts) < MANY:
            await asyncio.sleep(0.1)
        began, pieces = time.monotonic(), heard.pieces
        busy = await speed(house, job)
        rate = (heard.pieces - pieces) / (time.monotonic() - began)
    firsts = statistics.quantiles(heard.firsts, n=20)
    print(
        f"{MANY} streams beside a job: {rate:.0f} t/s, first piece after "
        f"{statistics.median(heard.firsts):.1f} s (p95 {firsts[18]:.1f} s); the job keeps "
        f"{busy / quiet:.2f} of its {quiet:.2f} steps/s",
        flush=True,
    )


async def chat(client: httpx2.AsyncClient, number: int, heard: Heard | None = None) -> None:
    """One stream to its end."""
    began = time.monotonic()
    body = {
        "model": models.DEFAULT_MODEL,
        "messages": [{"role": "user", "content": prompt(number)}],
        "temperature": 0,
        "max_completion_tokens": TOKENS,
        "min_tokens": TOKENS,
        "stream": True,
    }
    pieces = 0
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        if answer.status_code != 200:
            raise RuntimeError((await answer.aread()).decode())
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(line)
            if any(choice["delta"].get("content") for choice in chunk["choices"]):
                if heard and not pieces:
                    heard.firsts.append(time.monotonic() - began)
                pieces += 1
                if heard:
                    heard.pieces += 1
    if pieces < TOKENS // 2:
        raise RuntimeError(f"a stream of {pieces} pieces")


def prompt(number: int) -> str:
    return f"Tell me a short story about a cat and {number} mice, and let it end well."


@asynccontextmanager
async def talking(client: httpx2.AsyncClient, count: int) -> AsyncIterator[Heard]:
    """Streams that begin again when they end, until the block does; an error ends all of it."""
    heard, stop = Heard(), asyncio.Event()

    async def talk(number: int) -> None:
        while not stop.is_set():
            await chat(client, number, heard)

    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for number in range(count):
            group.create_task(talk(number))
        yield heard
        stop.set()


@asynccontextmanager
async def training(house: House) -> AsyncIterator[str]:
    """A job that runs for as long as the block; its id."""
    client = openai.OpenAI(base_url=house.url, api_key="none", max_retries=0)
    file = client.files.create(
        file=ROOT / "datasets" / "support" / "train.jsonl", purpose="fine-tune"
    )
    job = client.fine_tuning.jobs.create(
        model=models.DEFAULT_MODEL,
        training_file=file.id,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}},
        },
    ).id
    try:
        while len(steps(house, job)) <= 5:
            await asyncio.sleep(0.2)
        yield job
    finally:
        client.fine_tuning.jobs.cancel(job)


async def speed(house: House, job: str) -> float:
    """Steps a second, from the end of one step to that of another."""

    async def next_step() -> tuple[int, float]:
        before = len(steps(house, job))
        while len(found := steps(house, job)) == before:
            await asyncio.sleep(0.02)
        return len(found), time.monotonic()

    first, began = await next_step()
    await asyncio.sleep(WINDOW)
    last, ended = await next_step()
    return (last - first) / (ended - began)


def steps(house: House, job: str) -> Sequence[object]:
    """The steps that are done, read beside the server: asking it would cost it time."""
    return [event for event in house.backend.events(job) if event.type == "metrics"]


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


if __name__ == "__main__":
    serving()
