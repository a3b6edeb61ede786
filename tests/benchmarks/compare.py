"""How long 1,000 prompts to two arms take, and what the client costs, beside the SDK alone.

    python -m tests.benchmarks.compare

The service answers after 200 ms and admits 50 requests at once; one more is refused with 429 and
Retry-After.  In a second run one request in 25 is refused at random too.  It runs in a process of
its own.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.wire import WireBackend
from ftjobs.evals import Arm, Prompt, compare, graders
from ftjobs.evals.asking import Asker
from ftjobs.evals.cache import AnswerCache
from ftjobs.schema import ChatMessage

PROMPTS = 1000
LATENCY = 0.2
LIMIT = 50
IDEAL = 2 * PROMPTS * LATENCY / LIMIT
REFUSED = 0.04


class Service:
    """HTTP/1.1 on one event loop: chat completions after `LATENCY`, at most `LIMIT` at once."""

    def __init__(self, refused: float) -> None:
        self.refused = refused
        self.random = random.Random(7)
        self.under_way = self.most = self.refusals = 0
        self.answered: Counter[str] = Counter()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                writer.write(await self.answer(json.loads(await reader.readexactly(length))))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def answer(self, body: dict[str, object]) -> bytes:
        if self.under_way >= LIMIT or self.random.random() < self.refused:
            self.refusals += 1
            return response("429 Too Many Requests", {"error": {"message": "slow down"}})
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(LATENCY)
        self.under_way -= 1
        asked = body["messages"][-1]["content"]  # type: ignore[index]
        self.answered[f"{body['model']} {asked}"] += 1
        message = {"role": "assistant", "content": f"answer to {asked}"}
        return response(
            "200 OK",
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
            },
        )


def response(status: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    wait = "Retry-After: 1\r\n" if status.startswith("429") else ""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{wait}"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


def run_service(refused: float, pipe: Connection) -> None:
    async def main() -> None:
        service = Service(refused)
        server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        pipe.send((service.most, service.refusals, service.answered))

    asyncio.run(main())


@contextmanager
def service(refused: float) -> Iterator[tuple[str, Connection]]:
    """(URL, a connection that gives the counts for anything that is sent)."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=run_service, args=(refused, theirs), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1", ours
    finally:
        process.terminate()
        process.join()


def prompts() -> list[Prompt]:
    return [
        Prompt((ChatMessage(role="user", content=f"question {n}"),), f"answer to question {n}")
        for n in range(PROMPTS)
    ]


def ours(refused: float) -> tuple[float, float]:
    """(seconds, CPU milliseconds a request) of a comparison from its first to its last request."""
    with service(refused) as (url, pipe), tempfile.TemporaryDirectory() as home:
        profile = ANY_URL.model_copy(update={"base_url": url})
        with (
            closing(WireBackend("bench", profile, "sk-bench")) as backend,
            closing(AnswerCache(Path(home) / "answers.sqlite")) as cache,
        ):
            arms = [Arm("base", "base", backend), Arm("tuned", "tuned", backend)]
            ask = Asker(cache=cache)
            wall, cpu = time.monotonic(), time.process_time()
            result = compare(prompts(), arms, graders=[graders.exact()], ask=ask)
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
        pipe.send("counts")
        most, refusals, answered = pipe.recv()
    lost = [row.number for row in result.rows for each in row.answers.values() if each[0].failure]
    assert not lost, f"{len(lost)} prompts lost"
    assert len(answered) == 2 * PROMPTS
    assert set(answered.values()) == {1}, "a prompt was answered twice"
    print(
        f"ftjobs   {wall:5.1f} s = {wall / IDEAL:.2f} x ideal ({IDEAL:.0f} s); at most {most} at "
        f"once, {refusals} refused, 0 lost; {cpu / 2 / PROMPTS * 1e3:.2f} ms CPU a request"
    )
    return wall, cpu / 2 / PROMPTS * 1e3


def sdk() -> float:
    """CPU milliseconds a request of openai-python alone, 50 threads."""
    import openai

    with service(0.0) as (url, _), openai.OpenAI(api_key="sk-bench", base_url=url) as client:

        def ask(task: tuple[str, int]) -> object:
            model, n = task
            said = [{"role": "user", "content": f"question {n}"}]
            return client.chat.completions.create(model=model, messages=said)  # type: ignore[arg-type]

        tasks = [(model, n) for n in range(PROMPTS) for model in ("base", "tuned")]
        wall, cpu = time.monotonic(), time.process_time()
        with ThreadPoolExecutor(LIMIT) as pool:
            list(pool.map(ask, tasks))
        wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(
        f"SDK      {wall:5.1f} s = {wall / IDEAL:.2f} x ideal; "
        f"{cpu / 2 / PROMPTS * 1e3:.2f} ms CPU a request"
    )
    return cpu / 2 / PROMPTS * 1e3


def comparing() -> int:
    bare = sdk()
    wall, cpu = ours(0.0)
    print(f"         {cpu - bare:.2f} ms CPU a request beyond the SDK's own (limit 2)")
    refused, _ = ours(REFUSED)
    ok = wall <= 1.4 * IDEAL and refused <= 1.8 * IDEAL and cpu - bare <= 2
    print("limits: 1.4 x ideal, 1.8 x with refusals, 2 ms:", "kept" if ok else "MISSED")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(comparing())
