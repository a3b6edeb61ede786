"""Requests that schemathesis draws from a description: no 5xx, and no answer that breaks it.

`make fuzz MINUTES=20` runs this for longer than the tests do, over each backend and description.
FTJOBS_WIRE_SPEC names a description of the wire beside the server's own, such as OpenAI's.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Backend
from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving
from tests import tiny
from tests.backends.local.conftest import stop_worker, write_dataset

ROOT = Path(__file__).parents[3]

OWN = ""
"""The server's own description."""

CHECKS = {
    # Rules such as "no text is missing" and "this model exists" are not in a description, so what
    # fits it may be refused, with 4xx.
    True: ("--exclude-checks", "positive_data_acceptance"),
    # Another service's description says what is answered to what is served here, and no more.
    False: (
        "--checks",
        "not_a_server_error,response_schema_conformance,content_type_conformance",
    ),
}


def descriptions() -> list[str]:
    """Those that there are to draw from."""
    return [OWN, *filter(None, [os.environ.get("FTJOBS_WIRE_SPEC")])]


@dataclass(frozen=True)
class Target:
    """A server to try: what it has is `known`, by the names of fields and parameters."""

    url: str
    key: str
    known: dict[str, Any]

    def try_all(self, description: str, *limits: str) -> tuple[int, str]:
        """Try what a description has.  schemathesis' exit status, and its report."""
        is_own = description == OWN
        where = (
            (f"{self.url}/openapi.json",) if is_own else (description, "--url", f"{self.url}/v1")
        )
        words = (
            sys.executable, "-m", "schemathesis.cli", "run", *where, *CHECKS[is_own], *limits,
            "--header", f"Authorization: Bearer {self.key}", "--request-timeout", "300",
            "--suppress-health-check", "all", "--no-color", "--warnings", "off",
        )  # fmt: skip
        environ = os.environ | {
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.server.safety.known",
            "FTJOBS_FUZZ_KNOWN": json.dumps(self.known),
        }
        with tempfile.TemporaryDirectory() as folder:  # it writes notes where it runs
            done = subprocess.run(
                words, cwd=folder, env=environ, capture_output=True, text=True, check=False
            )
        return done.returncode, done.stdout + done.stderr


@contextmanager
def target(backend: Backend, model: str, home: Path, **options: Any) -> Iterator[Target]:
    """A server with a key, a file, a job and an upload."""
    settings = {"port": 0, "requests_per_minute": 10**9, "jobs_waiting": 10**6} | options
    with closing(Database(home)) as database:
        desk = Desk(backend, Options(**settings), database)
        _, key = desk.keys.create("fuzz", "train")
        with serving(desk) as base:
            url = base.removesuffix("/v1")
            caller = desk.keys.find(key)
            assert caller is not None
            project = desk.project(caller)
            train = write_dataset(home / "train.jsonl", 12)
            file = project.upload(train, name="train.jsonl", purpose="fine-tune")
            upload = project.begin_upload(size=10, name="parts.jsonl", purpose="fine-tune")
            known = {
                "model": model,
                "messages": [{"role": "user", "content": "Why?"}],
                "training_file": file.id,
                "upload_id": upload.id,
            }
            yield Target(url, key, known)


@contextmanager
def fake(folder: Path) -> Iterator[Target]:
    """A server over a scripted backend."""
    with target(FakeBackend(), "fake-base", folder / "home") as served:
        yield served


@contextmanager
def local(folder: Path) -> Iterator[Target]:
    """A server over this machine, which trains and asks a tiny model."""
    model = tiny.save_model(folder / "tiny")
    backend = LocalBackend(Settings(home=folder / "home", cache=folder / "cache"))
    try:
        with target(
            backend, "tiny", folder / "home", models={"tiny": str(model)}, jobs_waiting=2
        ) as served:
            yield served
    finally:
        backend.close()
        stop_worker(backend)


def answered(home: Path) -> Counter[tuple[str, int]]:
    """How often each operation was answered with which status, by the server's own audit."""
    rows = map(json.loads, (home / "audit.log").read_text("utf-8").splitlines())
    return Counter((f"{row['method']} {row['route']}", row["status"]) for row in rows)


def main(minutes: float) -> int:
    """Try every pair of a backend and a description, each for its share of the time."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    pairs = [(kind, text) for kind in (fake, local) for text in descriptions()]
    worst = 0
    for kind, text in pairs:
        limits = ["--max-time", str(int(minutes * 60 / len(pairs))), "--seed", str(time.time_ns())]
        if kind is local:  # the edges of a chat's fields would be whole answers, for all the time
            limits += ["--phases", "fuzzing,stateful"]
        with tempfile.TemporaryDirectory() as folder, kind(Path(folder)) as served:
            status, report = served.try_all(text, *limits)
            tally = answered(Path(folder) / "home")
        print(f"== {kind.__name__}, {'another' if text else 'its own'} description ==\n{report}")
        print("\n".join(f"{n:8} {status} {what}" for (what, status), n in sorted(tally.items())))
        worst = max(worst, status)
    return worst


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1])))
