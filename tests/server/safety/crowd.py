"""Clients of a server that is killed: each does what it drew, and remembers what was acknowledged.

Whoever got no answer sends the request again, under the same Idempotency-Key, until there is one.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from tests.server.wire.data import lines

PATIENCE = 120.0
"""Seconds in which a request must have an answer."""
AGAIN = (429, 503)
LESSON = lines(12)
"""What every job learns, so that all of them must tell the same story."""
ASKED = {
    "model": "tiny",
    "seed": 7,
    "method": {
        "type": "supervised",
        "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}},
    },
}


@dataclass
class Book:
    """What one client was told, and the faults that it met.

    `files`: bytes by id; `jobs`: ids by Idempotency-Key, None while there is no answer;
    `cancelled`: jobs that it asked to be cancelled.
    """

    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    jobs: dict[str, str | None] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    streams: int = 0
    cut: int = 0
    again: int = 0
    faults: list[str] = field(default_factory=list)


class Client(threading.Thread):
    """One of the crowd.

    Args:
        number: its own; the seed of what it does.
        most_jobs: how many jobs it creates at most.
    """

    def __init__(self, url: str, key: str, number: int, most_jobs: int) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self.book, self.over = Book(), threading.Event()
        self._draw, self._number, self._most_jobs = random.Random(number), number, most_jobs
        headers = {"authorization": f"Bearer {key}"}
        self._http = httpx2.Client(base_url=url, headers=headers, timeout=30, trust_env=False)
        self._count = 0

    def run(self) -> None:
        try:
            with self._http:
                while not self.over.is_set():
                    self._act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
            self.book.faults.append(f"{self.name}: {type(error).__name__}: {error}")

    def _act(self) -> None:
        self._count += 1
        acts: list[Callable[[], object]] = [self._upload, self._upload_in_parts, self._chat]
        if len(self.book.jobs) < self._most_jobs:
            acts += [self._create] * 3
        elif self.book.jobs:
            acts += [self._create_again, self._look, self._cancel]
        self._draw.choice(acts)()

    # --- acts --------------------------------------------------------------------------------

    def _upload(self) -> str:
        return self._sent(f"{self._number}-{self._count}.bin", self._bytes())

    def _sent(self, name: str, data: bytes, purpose: str = "user_data") -> str:
        file = self._until_answered(
            "/files", files={"file": (name, data)}, data={"purpose": purpose}
        )
        self.book.files[file["id"]] = (name, data)
        return str(file["id"])

    def _upload_in_parts(self) -> None:
        name, data = f"{self._number}-{self._count}.parts", self._bytes()
        middle = self._draw.randrange(1, len(data))
        about = {"filename": name, "purpose": "user_data", "bytes": len(data),
                 "mime_type": "application/octet-stream"}  # fmt: skip
        upload = self._until_answered("/uploads", json=about)["id"]
        parts = [
            self._until_answered(f"/uploads/{upload}/parts", files={"data": ("part", part)})["id"]
            for part in (data[:middle], data[middle:])
        ]
        asked = {"part_ids": parts, "md5": hashlib.md5(data, usedforsecurity=False).hexdigest()}
        done = self._until_answered(f"/uploads/{upload}/complete", json=asked)
        self.book.files[done["file"]["id"]] = (name, data)

    def _create(self) -> None:
        file_id = self._sent(f"{self._number}-{self._count}.jsonl", LESSON, "fine-tune")
        key = f"job-{self._number}-{self._count}"
        self.book.jobs[key] = None
        self.book.jobs[key] = self._created(key, file_id)

    def _created(self, key: str, file_id: str) -> str:
        body = {**ASKED, "training_file": file_id, "metadata": {"key": key, "file": file_id}}
        return str(self._until_answered("/fine_tuning/jobs", key=key, json=body)["id"])

    def _create_again(self) -> None:
        """The same request again: the same job."""
        key, job_id = self._draw.choice(sorted(self.book.jobs.items()))
        job = self._http_get(f"/fine_tuning/jobs/{job_id}")
        found = self._created(key, job["metadata"]["file"])
        if found != job_id:
            self.book.faults.append(f"{key} made {job_id}, and then {found}")

    def _look(self) -> None:
        key, job_id = self._draw.choice(sorted(self.book.jobs.items()))
        job = self._http_get(f"/fine_tuning/jobs/{job_id}")
        if job["metadata"]["key"] != key:
            self.book.faults.append(f"{job_id} is {job['metadata']}, not of {key}")

    def _cancel(self) -> None:
        job_id = str(self._draw.choice(sorted(filter(None, self.book.jobs.values()))))
        may = (self._most_jobs + self._number % 2) // 2  # of all jobs, most are to come to an end
        if job_id in self.book.cancelled or len(self.book.cancelled) >= may:
            return
        self.book.cancelled.add(job_id)
        self._until_answered(f"/fine_tuning/jobs/{job_id}/cancel", allowed=(400,))

    def _chat(self) -> None:
        """A stream ends with [DONE], or visibly in the midst."""
        body = {"model": "tiny", "messages": [{"role": "user", "content": f"{self._count}?"}],
                "max_tokens": self._draw.randrange(4, 40), "stream": True}  # fmt: skip
        last = ""
        try:
            with self._http.stream("POST", "/chat/completions", json=body) as answer:
                if answer.status_code != 200:
                    answer.read()
                    self._judge(answer)
                    return
                for line in answer.iter_lines():
                    last = line or last
        except httpx2.TransportError:
            self.book.cut += 1
            return
        self.book.streams += 1
        if last != "data: [DONE]":
            self.book.faults.append(f"a stream ended well with {last!r}")

    # --- answers -----------------------------------------------------------------------------

    def _bytes(self) -> bytes:
        return self._draw.randbytes(self._draw.choice((10, 1000, 100_000)))

    def _http_get(self, path: str) -> dict[str, Any]:
        return self._answered(lambda: self._http.get(path))

    def _until_answered(
        self, path: str, *, key: str = "", allowed: tuple[int, ...] = (), **request: Any
    ) -> dict[str, Any]:
        """POST under a key until there is an answer."""
        headers = {"idempotency-key": key or f"{self._number}-{self._count}-{self._draw.random()}"}
        return self._answered(lambda: self._http.post(path, headers=headers, **request), allowed)

    def _answered(
        self, ask: Callable[[], httpx2.Response], allowed: tuple[int, ...] = ()
    ) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = ask()
            except httpx2.TransportError:
                self.book.again += 1
                time.sleep(0.05)
                continue
            if answer.status_code not in AGAIN:
                self._judge(answer, allowed)
                found: dict[str, Any] = json.loads(answer.content)
                return found
            time.sleep(0.05)
        raise TimeoutError("no answer")

    def _judge(self, answer: httpx2.Response, allowed: tuple[int, ...] = ()) -> None:
        """What was acknowledged is there, so nothing that is asked for can be refused."""
        if answer.status_code not in (200, *AGAIN, *allowed):
            path = answer.request.url.path
            raise AssertionError(f"{path}: {answer.status_code} {answer.text[:300]}")
