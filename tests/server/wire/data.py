"""What the wire's tests send."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2

from tests.server.conftest import Served


def lines(examples: int = 12, salt: str = "") -> bytes:
    """A supervised chat dataset."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"Question {number}{salt}?"},
                {"role": "assistant", "content": f"Answer {number}."},
            ]
        }
        for number in range(examples)
    )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def send(
    http: httpx2.Client,
    data: bytes | None = None,
    *,
    name: str = "train.jsonl",
    purpose: str = "fine-tune",
    headers: dict[str, str] | None = None,
    **fields: str,
) -> httpx2.Response:
    """POST /files."""
    return http.post(
        "/files",
        files={"file": (name, lines() if data is None else data)},
        data={"purpose": purpose, **fields},
        headers=headers,
    )


def sent(http: httpx2.Client, data: bytes | None = None, **how: Any) -> str:
    """The id of a file that was taken."""
    answer = send(http, data, **how)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def create(
    http: httpx2.Client, headers: dict[str, str] | None = None, **fields: Any
) -> httpx2.Response:
    """POST /fine_tuning/jobs."""
    body = {"model": "fake-base", **fields}
    return http.post("/fine_tuning/jobs", json=body, headers=headers)


def created(http: httpx2.Client, **fields: Any) -> str:
    """The id of a job that was taken."""
    answer = create(http, **{"training_file": fields.get("training_file") or sent(http), **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def finished(http: httpx2.Client, job_id: str) -> dict[str, Any]:
    """A job of a fake backend at its end: every look moves it on."""
    for _ in range(100):
        job: dict[str, Any] = http.get(f"/fine_tuning/jobs/{job_id}").json()
        if job["status"] in ("succeeded", "failed", "cancelled"):
            return job
    raise AssertionError(f"job {job_id} is still {job['status']}")


def error(answer: httpx2.Response) -> dict[str, Any]:
    """What a refusal says."""
    found: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= found.keys()
    return found


def nothing_left(served: Served, *, parts: int = 0) -> None:
    """The spool holds nothing but so many parts, once the last request has ended."""
    folder = served.desk.database.home / "incoming"
    for _ in range(200):
        names = [path.name for path in folder.iterdir()]
        if len(names) == parts and all(name.startswith("part_") for name in names):
            return
        time.sleep(0.02)  # an answer is there before its request has ended
    raise AssertionError(names)
