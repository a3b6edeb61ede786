"""`make storm`: a server under load is killed again and again, and nothing that it said is lost."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import random
import re
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx2
import openai

from ftjobs.schema import ENDED, Event
from ftjobs.server.database import Database
from ftjobs.server.uploads import UploadTable
from ftjobs.server.webhooks.endpoints import Endpoints
from tests.server.safety.crowd import ASKED, LESSON, Book, Client
from tests.server.safety.house import House
from tests.server.webhooks.conftest import Taker, taking
from tests.server.wire.data import created, sent

LONGEST = 300.0
"""Seconds in which all jobs must end."""


@dataclass(frozen=True)
class Scale:
    """How much of a storm.

    `seconds` is how long the server lives between two kills, on average; `jobs` are created
    by the `clients` together.
    """

    clients: int = 20
    kills: int = 2
    seconds: float = 2.0
    jobs: int = 8
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What the crowd was told, and how long the server took to be there again."""

    scale: Scale
    books: Sequence[Book]
    starts: Sequence[float]
    jobs: Mapping[str, str]
    deliveries: int

    def __str__(self) -> str:
        books = self.books
        files, streams = sum(len(b.files) for b in books), sum(b.streams for b in books)
        cut, again = sum(b.cut for b in books), sum(b.again for b in books)
        ends = ", ".join(f"{n} {status}" for status, n in Counter(self.jobs.values()).items())
        starts = ", ".join(f"{seconds:.1f}" for seconds in self.starts)
        return (
            f"{self.scale.clients} clients, {self.scale.kills} kills: {files} files, "
            f"{len(self.jobs)} jobs ({ends}), {streams} streams whole and {cut} cut, "
            f"{again} requests sent again, {self.deliveries} deliveries; started in {starts} s"
        )


def storm(folder: Path, scale: Scale) -> Outcome:
    """Raise it, and check all that was acknowledged.  AssertionError where something is lost."""
    house = House(folder, {"jobs_waiting": 1000, "chats": 8})
    try:
        with taking() as taker:
            return _storm(house, taker, scale)
    finally:
        house.close()


def _storm(house: House, taker: Taker, scale: Scale) -> Outcome:
    keys = [house.key("a"), house.key("b")]
    with closing(Database(house.home)) as database:
        secret = Endpoints(database).create(taker.url).secret
    starts = [house.start()]
    each, more = divmod(scale.jobs, scale.clients)
    crowd = [
        Client(house.url, keys[n % 2], n, most_jobs=each + (n < more)) for n in range(scale.clients)
    ]
    for client in crowd:
        client.start()
    draw = random.Random(scale.seed)
    for _ in range(scale.kills):
        time.sleep(draw.uniform(0.3, 2 * scale.seconds - 0.3))
        house.kill(worker=draw.random() < 0.5)
        starts.append(house.start())
    time.sleep(scale.seconds)
    for client in crowd:
        client.over.set()
    for client in crowd:
        client.join(LONGEST)
        assert not client.is_alive(), f"{client.name} hangs"
    books = [client.book for client in crowd]
    faults = [fault for book in books for fault in book.faults]
    assert not faults, "\n".join(faults)
    with Truth(house, keys, books) as truth:
        jobs = truth.all_end()
        truth.files_are_whole()
        truth.jobs_are_one_of_a_key(jobs)
        truth.stories_are_whole(jobs)
        truth.is_told(taker, secret, jobs)
        house.kill()
        starts.append(house.start())
        truth.nothing_is_left()
    return Outcome(scale, books, starts, jobs, len(taker.taken))


class Truth:
    """What the server and the store behind it hold, against what the crowd was told."""

    def __init__(self, house: House, keys: Sequence[str], books: Sequence[Book]) -> None:
        self.house, self.books = house, books
        self.clients = [
            httpx2.Client(
                base_url=house.url,
                headers={"authorization": f"Bearer {key}"},
                timeout=30,
                trust_env=False,
            )
            for key in keys
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.close()

    def all_end(self) -> dict[str, str]:
        """Every job ends; how, by id."""
        end = time.monotonic() + LONGEST
        while open_ := [job.id for job in self.house.store.jobs() if not job.ended]:
            assert time.monotonic() < end, f"{open_} do not end\n{self._worker_log()}"
            for client in self.clients:  # looking at a job is what finds its worker dead
                client.get("/fine_tuning/jobs", params={"limit": 1})
                client.get(f"/fine_tuning/jobs/{open_[0]}")
            time.sleep(0.1)
        jobs = {job.id: job.status for job in self.house.store.jobs()}
        cancelled = set[str]().union(*(book.cancelled for book in self.books))
        for job_id, status in jobs.items():
            wanted = {"succeeded", "cancelled"} if job_id in cancelled else {"succeeded"}
            assert status in wanted, f"{job_id}: {status}\n{self._worker_log()}"
        return jobs

    def files_are_whole(self) -> None:
        """Every acknowledged file is there, in its project alone, with its bytes."""
        for number, book in enumerate(self.books):
            client, other = self.clients[number % 2], self.clients[1 - number % 2]
            listed = {each["id"]: each for each in client.get("/files").json()["data"]}
            for file_id, (name, data) in book.files.items():
                assert (listed[file_id]["filename"], listed[file_id]["bytes"]) == (name, len(data))
                assert client.get(f"/files/{file_id}/content").content == data
                assert other.get(f"/files/{file_id}").status_code == 404

    def jobs_are_one_of_a_key(self, jobs: Mapping[str, str]) -> None:
        """No key made two jobs, and every acknowledged one is that of its key."""
        made: Counter[str] = Counter()
        for client in self.clients:
            for job in _all(client, "/fine_tuning/jobs"):
                made[job["metadata"]["key"]] += 1
        told = {key: job_id for book in self.books for key, job_id in book.jobs.items()}
        assert set(made.values()) <= {1}
        assert made.keys() == told.keys()
        assert set(told.values()) == set(jobs)

    def stories_are_whole(self, jobs: Mapping[str, str]) -> None:
        """Events have no gap and no repetition: they are those of a job that nobody killed."""
        client = self.clients[0]
        job_id = created(client, **ASKED, training_file=sent(client, LESSON))
        self._until_ended(job_id)
        whole = _story(self.house.store.events(job_id))
        for job_id, status in jobs.items():
            owner = next(c for c in self.clients if _has(c, job_id))
            events = self.house.store.events(job_id)
            told = [each["id"] for each in _all(owner, f"/fine_tuning/jobs/{job_id}/events")]
            assert told[::-1] == [event.id for event in events], "the server tells another story"
            story = _story(events)
            if status == "cancelled":
                *story, last = story
                assert "cancelled" in last[1]
                whole_so_far = whole[: len(story)]
            else:
                whole_so_far = whole
            assert story == whole_so_far, "\n".join(_difference(whole_so_far, story))

    def is_told(self, taker: Taker, secret: str, jobs: Mapping[str, str]) -> None:
        """Whoever is told of ends was told of each, signed, under one id however often."""
        end = time.monotonic() + LONGEST
        while not jobs.keys() <= (told := _deliveries(taker, secret)).keys():
            assert time.monotonic() < end, f"{jobs.keys() - told.keys()} were not told"
            time.sleep(0.1)
        for job_id, status in jobs.items():
            assert {kind for _, kind in told[job_id]} == {f"fine_tuning.job.{status}"}
            assert len({delivery for delivery, _ in told[job_id]}) == 1

    def nothing_is_left(self) -> None:
        """No half of a file lies about, and both databases are sound."""
        home, store = self.house.home, self.house.store
        with closing(Database(home)) as database:
            parts = UploadTable(database).all_parts()
        assert {path.name for path in (home / "incoming").iterdir()} == parts
        files = {file.id: file for file in store.files()}
        for path in (home / "files").iterdir():
            if path.name.startswith(".upload-"):  # a worker removes it once it is old
                continue
            data = path.read_bytes()
            found = files.get(path.name)
            if found is not None:
                assert (len(data), hashlib.sha256(data).hexdigest()) == (found.bytes, found.sha256)
        assert files.keys() <= {path.name for path in (home / "files").iterdir()}
        for name in ("server.db", "ftjobs.db"):
            with closing(sqlite3.connect(home / name)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert "Traceback" not in self.house.log.read_text("utf-8")

    def _until_ended(self, job_id: str) -> None:
        end = time.monotonic() + LONGEST
        while self.clients[0].get(f"/fine_tuning/jobs/{job_id}").json()["status"] not in ENDED:
            assert time.monotonic() < end, self._worker_log()
            time.sleep(0.1)

    def _worker_log(self) -> str:
        log = self.house.home / "worker.log"
        return log.read_text("utf-8")[-3000:] if log.exists() else ""


def _has(client: httpx2.Client, job_id: str) -> bool:
    return client.get(f"/fine_tuning/jobs/{job_id}").status_code == 200


def _all(client: httpx2.Client, path: str) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    rows: list[dict[str, Any]] = []
    for _ in itertools.count():
        after = {"after": rows[-1]["id"]} if rows else {}
        page = client.get(path, params={"limit": 7, **after}).json()
        rows += page["data"]
        if not page["has_more"]:
            return rows
    return rows


_IDS = re.compile(r"ftjob-\w+|file-\w+|ft:[\w.:-]+")


def _story(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    """What events say beside the ids in them; that a worker died is no part of it."""
    return [
        (event.level, _IDS.sub("…", event.message), _IDS.sub("…", json.dumps(_measured(event))))
        for event in events
        if not event.message.startswith(("Going on after step", "The worker stopped;"))
    ]


def _measured(event: Event) -> dict[str, Any]:
    """Its data, but for how fast the machine was."""
    return {name: value for name, value in event.data.items() if name != "tokens_per_second"}


def _difference(whole: Sequence[object], story: Sequence[object]) -> Iterator[str]:
    return difflib.unified_diff([*map(str, whole)], [*map(str, story)], "whole", "killed", n=1)


def _deliveries(taker: Taker, secret: str) -> dict[str, list[tuple[str, str]]]:
    """(id of the delivery, kind) of what was taken, by job."""
    sdk = openai.OpenAI(api_key="none", webhook_secret=secret)
    found: dict[str, list[tuple[str, str]]] = {}
    for headers, body in list(taker.taken):
        sdk.webhooks.verify_signature(body, headers, tolerance=3600)  # storms may be long
        event = json.loads(body)
        found.setdefault(event["data"]["id"], []).append((headers["webhook-id"], event["type"]))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        many = Scale(kills=int(sys.argv[1]), seconds=10, jobs=40, seed=time.time_ns())
        print(storm(Path(name), many))
