"""Every request that ftjobs makes, judged by an OpenAPI description of the wire.

    python -m tests.benchmarks.prism SPEC.yaml

The judge is Prism's mock server (`@stoplight/prism-cli`, installed by npm into a temporary folder
unless PRISM names the program).  It refuses what the description does not allow; a forwarder
between it and ftjobs counts.  The limit is 0 refused.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import getmembers, isfunction
from io import BytesIO
from pathlib import Path

from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from ftjobs.errors import FtjobsError
from ftjobs.schema import ChatMessage, Hyperparameters, Job, JobSpec, Sampling
from tests.contract.conftest import write_dataset

HOP = frozenset({"connection", "transfer-encoding", "content-length", "host"})
PART = 900  # bytes; the training file has a few such parts
CHECKPOINT = "ft:gpt-4o-mini:org:s:1:ckpt-step-8"
PATIENCE = 60.0  # seconds for Prism to start

MESSAGES = (
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content="hi"),
)
EVERYTHING = Sampling(
    temperature=0.5, top_p=0.9, max_tokens=9, stop="x", seed=3, n=2,
    frequency_penalty=0.1, presence_penalty=-0.1,
)  # fmt: skip
SETTINGS = Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=0.5)
SPECS = (
    JobSpec(model="gpt-4o-mini", training_file="file-1"),
    JobSpec(
        model="gpt-4o-mini", training_file="file-1", validation_file="file-2", seed=7, suffix="s",
        hyperparameters=SETTINGS, metadata={"ftjobs_identity": "0" * 32, "team": "otter"},
    ),
    JobSpec(
        model="gpt-4o-mini", training_file="file-1", method="dpo",
        hyperparameters=Hyperparameters(n_epochs="auto", beta=0.2),
    ),
)  # fmt: skip
RESULT = Job(
    id="ftjob-1", created_at=1, status="succeeded", model="m", training_file="file-1",
    result_files=("file-3",),
)  # fmt: skip


def calls(backend: WireBackend, dataset: Path) -> dict[str, Callable[[], object]]:
    """A use of every method of a backend that sends something, by the method's name."""
    return {
        "upload": lambda: [
            backend.upload(_cut(dataset, PART), name="a.0123456789abcdef.jsonl"),
            backend.upload(dataset, name="b.0123456789abcdef.jsonl"),
            backend.upload(dataset, name="c.0123456789abcdef.jsonl", progress=_give_up),
        ],
        "file": lambda: backend.file("file-1"),
        "files": lambda: list(backend.files()),
        "content": lambda: backend.content("file-1"),
        "download": lambda: backend.download("file-1", BytesIO()),
        "delete_file": lambda: backend.delete_file("file-1"),
        "create": lambda: [backend.create(spec) for spec in SPECS],
        "retrieve": lambda: backend.retrieve("ftjob-1"),
        "cancel": lambda: backend.cancel("ftjob-1"),
        "pause": lambda: backend.pause("ftjob-1"),
        "resume": lambda: backend.resume("ftjob-1"),
        "jobs": lambda: [*backend.jobs(), *backend.jobs(metadata={"ftjobs_identity": "0" * 32})],
        "events": lambda: [backend.events("ftjob-1"), backend.events("ftjob-1", after="e-1")],
        "checkpoints": lambda: backend.checkpoints("ftjob-1"),
        "result_file": lambda: backend.result_file(RESULT),
        "models": lambda: list(backend.models()),
        "model": lambda: backend.model("gpt-4o-mini"),
        "permissions": lambda: backend.permissions(CHECKPOINT),
        "permit": lambda: backend.permit(CHECKPOINT, ["proj_1", "proj_2"]),
        "forbid": lambda: backend.forbid(CHECKPOINT, "cp_1"),
        "delete_model": lambda: backend.delete_model("ft:gpt-4o-mini:org:s:1"),
        "complete": lambda: [
            backend.complete("gpt-4o-mini", MESSAGES),
            backend.complete("gpt-4o-mini", MESSAGES, sampling=EVERYTHING),
        ],
        "stream": lambda: list(backend.stream("gpt-4o-mini", MESSAGES, sampling=EVERYTHING)),
    }


@dataclass
class Ledger:
    """What was asked, and how the judge answered."""

    lines: list[tuple[str, str, int, str]] = field(default_factory=list)

    @property
    def refused(self) -> list[tuple[str, str, int, str]]:
        return [line for line in self.lines if line[2] >= 400]


def main() -> int:
    spec = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder) / "train.jsonl")
        with mock(spec, Path(folder)) as port, forwarding(port) as (url, ledger):
            assert _status_of_nonsense(port) == 422, "the judge lets everything pass"
            profile = PROFILES["openai"].at(url)
            once = RetryPolicy(total=0)
            with closing(
                WireBackend("prism", profile, "sk-judge", retry=once, part_size=PART)
            ) as backend:
                uses = calls(backend, dataset)
                public = {n for n, _ in getmembers(WireBackend, isfunction) if n[0] != "_"}
                missing = public - {"close"} - set(uses)
                assert not missing, f"nobody asked for {missing}"
                for use in uses.values():
                    _try(use)
    for method, path, status, words in ledger.lines:
        print(f"{status} {method:6} {path}  {words}")
    print(f"{len(ledger.lines)} requests, {len(ledger.refused)} refused")
    return bool(ledger.refused or not ledger.lines)


def _try(use: Callable[[], object]) -> None:
    """Send; the answers are invented, so what ftjobs thinks of them does not matter."""
    try:
        use()
    except (FtjobsError, KeyboardInterrupt) as error:
        print(f"    {type(error).__name__}: {str(error)[:150]}")


def _status_of_nonsense(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as judge:
        headers = {"Authorization": "Bearer sk", "Content-Type": "application/json"}
        judge.request("POST", "/fine_tuning/jobs", b'{"model": 3}', headers)
        return judge.getresponse().status


def _cut(dataset: Path, size: int) -> Path:
    """A file that is small enough for one request."""
    small = dataset.with_name("small.jsonl")
    small.write_bytes(dataset.read_bytes()[:size])
    return small


def _give_up(done: int, total: int) -> None:
    """Call an upload off, as Ctrl-C does: ftjobs then cancels it."""
    raise KeyboardInterrupt


@contextmanager
def mock(spec: Path, folder: Path) -> Iterator[int]:
    """Prism on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    program = os.environ.get("PRISM") or _installed(folder)
    command = [program, "mock", "--host", "127.0.0.1", "--port", str(port), "--errors", str(spec)]
    with (folder / "prism.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _await(port, process, folder / "prism.log")
        yield port
    finally:
        process.terminate()
        process.wait()


def _installed(folder: Path) -> str:
    command = ["npm", "install", "--silent", "--prefix", str(folder), "@stoplight/prism-cli"]
    subprocess.run(command, check=True)
    return str(folder / "node_modules/.bin/prism")


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"Prism did not start:\n{log.read_text()}")


@contextmanager
def forwarding(port: int) -> Iterator[tuple[str, Ledger]]:
    """A base URL that leads to the judge, and the record of what went there."""
    ledger = Ledger()

    class Forwarder(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self._body()
            if body is None:
                self.close_connection = True  # ftjobs broke off: there is nothing to judge
                return
            judge = http.client.HTTPConnection("127.0.0.1", port)
            with closing(judge):
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP}
                judge.request(self.command, self.path.removeprefix("/v1"), body, headers)
                answer = judge.getresponse()
                said = answer.read()
            words = said.decode(errors="replace")[:500] if answer.status >= 400 else ""
            ledger.lines.append((self.command, self.path, answer.status, words))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def _body(self) -> bytes | None:
            """The request's body; None if it ended too early."""
            if self.headers.get("Transfer-Encoding") != "chunked":
                size = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(size)
                return body if len(body) == size else None
            chunks = []
            while size := int(self.rfile.readline() or b"-1", 16):
                chunks.append(self.rfile.read(max(size, 0)))
                if not self.rfile.readline():
                    return None
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The ledger says it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forwarder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", ledger
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
