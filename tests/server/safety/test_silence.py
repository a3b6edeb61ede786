"""Keys, secrets, prompts and training text are in no log, no audit, no error and no metric."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ftjobs.schema import ENDED
from ftjobs.server.database import Database
from ftjobs.server.keys import Keys
from ftjobs.server.webhooks.endpoints import Endpoints
from tests.server.safety.house import House
from tests.server.webhooks.conftest import taking
from tests.server.wire.data import create, send, sent

PROMPT, LESSON, NAME = "canary-of-a-prompt", "canary-of-a-lesson", "canary-of-a-name"
WRONG = "ftj-0123456789ab-" + "canaryofawrongkey".ljust(43, "x")

LESSONS: tuple[bytes, ...] = (
    json.dumps({"messages": [{"role": "user", "content": LESSON}]}).encode(),
    json.dumps({"messages": [{"role": "no-such", "content": LESSON}]}).encode(),
    json.dumps({"messages": LESSON}).encode(),
    json.dumps({"prompt": LESSON, "completion": 1}).encode(),
    json.dumps([LESSON]).encode(),
    json.dumps({"messages": [{"role": "user", "content": {"a": LESSON}},
                             {"role": "assistant", "weight": LESSON}]}).encode(),
    f'{{"messages": [{{"role": "user", "content": "{LESSON}'.encode(),
    f"{LESSON}, not JSON".encode(),
    b"\xff\xfe" + LESSON.encode("utf-16-le"),
    b'{"messages": "' + LESSON.encode() + b'\xff"}',
)  # fmt: skip
"""Files that no job can learn from: every reason is told, and none says what is in them."""

QUESTIONS: tuple[dict[str, Any], ...] = (
    {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4},
    {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 4, "stream": True},
    {"messages": [{"role": "user", "content": PROMPT}], "model": "no-such"},
    {"messages": [{"role": "user", "content": PROMPT * 500}]},  # longer than the model can read
    {"messages": [{"role": "user", "content": PROMPT * 500}], "stream": True},
    {"messages": [{"role": "tool", "content": PROMPT}], "max_tokens": 4},
    {"messages": [{"role": "user", "content": {"text": PROMPT}}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": [PROMPT]}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PROMPT}]}]},
    {"messages": [{"role": "user", "content": PROMPT, "name": 1}]},
    {"messages": PROMPT},
    {"messages": [{"role": "user", "content": PROMPT}], "temperature": PROMPT},
    {"messages": [{"role": "user", "content": PROMPT}], "stop": [PROMPT] * 99},
    {"messages": [{"role": "user", "content": PROMPT}], "tools": [{"type": PROMPT}]},
    {"messages": [{"role": "user", "content": PROMPT}], "response_format": {"type": PROMPT}},
    {"messages": [{"role": "user", "content": PROMPT}], "response_format":
     {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "no-such"}}}},
    {"messages": [{"role": "user", "content": PROMPT + "\ud800"}], "max_tokens": 4},
)  # fmt: skip


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, {"patience": 5.0})
    try:
        yield made
    finally:
        made.close()


def test_nothing_of_it_is_told_to_anybody_else(house: House) -> None:
    with closing(Database(house.home)) as database:
        keys = Keys(database)
        texts = [keys.create("a", "train")[1], keys.create("b", "admin")[1]]
        old, revoked = keys.create("a", "train")
        keys.revoke(old.id)
        with taking(statuses=[500, 204]) as taker:
            secret = Endpoints(database).create(taker.url).secret
            house.start()
            with httpx2.Client(
                base_url=house.url,
                headers={"authorization": f"Bearer {texts[0]}"},
                timeout=120,
                trust_env=False,
            ) as http:
                told = [*_asked(http), *_taught(http), *_knocked(http, revoked)]
                metrics = http.get(
                    house.url.removesuffix("/v1") + "/metrics",
                    headers={"authorization": f"Bearer {texts[1]}"},
                ).text
                deliveries = [body.decode() for _, body in taker.wait(2, 60)]
    assert house.process is not None
    house.process.send_signal(signal.SIGTERM)
    assert house.process.wait(60) == 0

    home = house.home
    logs = [path.read_text("utf-8", "replace") for path in (house.log, home / "worker.log")
            if path.exists()]  # fmt: skip
    audit = "".join(path.read_text("utf-8") for path in home.glob("audit.log*"))
    kept = b"".join(path.read_bytes() for path in home.glob("*.db*")).decode("latin-1")
    keys_of_all = [*texts, revoked, WRONG]
    for place, all_of_it, forbidden in (
        ("a refusal", "\n".join(told), [PROMPT, LESSON, *keys_of_all, secret]),
        ("the log", "\n".join(logs), [PROMPT, LESSON, NAME, *keys_of_all, secret]),
        ("the audit", audit, [PROMPT, LESSON, NAME, *keys_of_all, secret]),
        ("the metrics", metrics, [PROMPT, LESSON, NAME, *keys_of_all, secret]),
        ("a delivery", "\n".join(deliveries), [PROMPT, LESSON, NAME, *keys_of_all, secret]),
        ("the databases", kept, [PROMPT, LESSON, *keys_of_all]),  # to sign, the secret is kept
    ):
        assert all_of_it, place
        for word in forbidden:
            assert word not in all_of_it, f"{place} holds {word}: …{_around(all_of_it, word)}…"
    assert "Traceback" not in logs[0]


def _asked(http: httpx2.Client) -> list[str]:
    """What is said of questions that cannot be answered."""
    told = []
    for question in QUESTIONS:
        body = json.dumps({"model": "tiny", **question})
        for path in ("/chat/completions", "/completions"):
            answer = http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500, answer.text
            if answer.status_code != 200:
                told.append(answer.text)
    for prompt in (PROMPT * 500, [PROMPT, 1], {"a": PROMPT}):
        told.append(http.post("/completions", json={"model": "tiny", "prompt": prompt}).text)
    told.append(http.post("/chat/completions", content=f"{{{PROMPT}").text)
    return told


def _taught(http: httpx2.Client) -> list[str]:
    """What is said of files that cannot be learned from: of the job, its events, and its end."""
    told = []
    good = sent(http, name=f"{NAME}.jsonl")
    files = [(sent(http, text, name=f"{NAME}-{n}.jsonl"), n) for n, text in enumerate(LESSONS)]
    for file_id, _ in files:
        for given in (
            {"training_file": file_id},
            {"training_file": good, "validation_file": file_id},
        ):
            answer = create(http, None, model="tiny", **given)
            told.append(answer.text)
            if answer.status_code == 200:
                job_id = answer.json()["id"]
                _until_ended(http, job_id)
                told.append(http.get(f"/fine_tuning/jobs/{job_id}").text)
                told.append(http.get(f"/fine_tuning/jobs/{job_id}/events?limit=100").text)
    told.append(send(http, LESSON.encode(), purpose=LESSON).text.replace(LESSON, "", 1))
    told.append(http.post("/files", content=LESSON.encode()).text)
    return [text.replace(NAME, "") for text in told]


def _until_ended(http: httpx2.Client, job_id: str) -> None:
    end = time.monotonic() + 120
    while http.get(f"/fine_tuning/jobs/{job_id}").json()["status"] not in ENDED:
        assert time.monotonic() < end
        time.sleep(0.1)


def _knocked(http: httpx2.Client, revoked: str) -> list[str]:
    """What is said to who has no key, or a wrong one, wherever it is shown."""
    root = str(http.base_url).removesuffix("/v1/")
    told = []
    for key in (WRONG, revoked):
        for headers in (
            {"authorization": f"Bearer {key}"},
            {"authorization": key},
            {"authorization": "", "cookie": f"ftjobs_session={key}"},
        ):
            told.append(http.get("/models", headers=headers).text)
        told.append(http.post(f"{root}/login", data={"key": key, "token": key}).text)
        told.append(http.get(f"/models/{key}x").text.replace(f"{key}x", ""))
        told.append(http.get("/models", params={"api_key": key}).text)
    return told


def _around(text: str, word: str) -> str:
    place = text.index(word)
    return text[max(0, place - 200) : place + 100]
