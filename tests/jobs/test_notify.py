import json
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ftjobs.errors import ConfigError
from ftjobs.jobs import notify
from ftjobs.jobs.notify import notifier
from ftjobs.schema import Job

SECRET_PATH = "/services/T0/B0/secret"


def job_in(status: str, **fields: Any) -> Job:
    values = {"id": "ftjob-1", "created_at": 0, "model": "m", "training_file": "f"}
    return Job.model_validate({**values, "status": status, **fields})


DONE = job_in("succeeded", fine_tuned_model="ft:m:1")


@dataclass
class Target:
    """A loopback address that answers with the next of `statuses`, the last one for ever."""

    statuses: list[int]
    received: list[Any] = field(default_factory=list)
    url: str = ""


@contextmanager
def target(*statuses: int, body: bytes = b"") -> Iterator[Target]:
    found = Target(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status = found.statuses.pop(0) if len(found.statuses) > 1 else found.statuses[0]
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that leaves in the middle of the answer is what one test is about."""

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_port}{SECRET_PATH}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_url_is_sent_what_happened() -> None:
    error = {"code": "bad", "message": "it broke", "param": None}
    with target(200) as there:
        tell = notifier(there.url)
        assert tell(DONE) is None
        assert tell(job_in("failed", error=error)) is None
    assert there.received == [
        {"job": "ftjob-1", "status": "succeeded", "model": "ft:m:1", "error": None},
        {
            "job": "ftjob-1",
            "status": "failed",
            "model": None,
            "error": {"code": "bad", "message": "it broke"},
        },
    ]


def test_what_may_pass_is_tried_three_times() -> None:
    rests: list[float] = []
    with target(503, 429, 204) as there:
        assert notifier(there.url, sleep=rests.append)(DONE) is None
    assert (len(there.received), rests) == (3, [1, 2])
    with target(503) as there:
        assert notifier(there.url, sleep=rests.append)(DONE) == "127.0.0.1: HTTP 503 (3 tries)"
    assert len(there.received) == 3


@pytest.mark.parametrize("status", [302, 400, 404, 410])
def test_what_cannot_pass_is_tried_once(status: int) -> None:
    with target(status) as there:
        wrong = notifier(there.url)(DONE)
    assert wrong == f"127.0.0.1: HTTP {status}"
    assert len(there.received) == 1


def test_a_failure_quotes_no_secret_of_the_url() -> None:
    tell = notifier(f"http://user:pass@127.0.0.1:1{SECRET_PATH}", sleep=lambda _: None)
    wrong = tell(DONE) or ""
    assert "127.0.0.1" in wrong
    assert "refused" in wrong
    assert "secret" not in wrong
    assert "pass" not in wrong


def test_an_answer_without_end_is_not_read() -> None:
    with target(200, body=b"x" * 50_000_000) as there:
        assert notifier(there.url)(DONE) is None


def test_a_dead_address_is_given_up() -> None:
    with target(400) as there:
        tell = notifier(there.url)
        said = [tell(DONE) for _ in range(5)]
    wrong = "127.0.0.1: HTTP 400"
    assert said == [wrong, wrong, f"{wrong}; nothing more is sent there", None, None]
    assert len(there.received) == 3


def test_failures_that_are_not_in_a_row_give_nothing_up() -> None:
    with target(400, 400, 200, 400, 400, 200) as there:
        tell = notifier(there.url)
        assert [bool(tell(DONE)) for _ in range(6)] == [True, True, False] * 2
    assert len(there.received) == 6


def test_a_command_finds_the_job_in_its_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = "import os; print(*(repr(os.environ['FTJOBS_' + n]) for n in ['JOB_ID', 'MODEL']))"
    evil = job_in("succeeded", fine_tuned_model="ft:\x1b[2J\0$(touch x)日本")
    assert notifier(shlex.join([sys.executable, "-c", program]))(evil) is None
    done = capfd.readouterr()
    assert done.err == "'ftjob-1' 'ft:[2J$(touch x)日本'\n"
    assert done.out == ""


def test_a_command_needs_no_shell_and_gets_none(tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert notifier(f"true ; touch {made}")(DONE) is None
    assert not made.exists()


def test_a_command_that_fails_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notifier("false")(DONE) == "false ended with 1"
    monkeypatch.setattr(notify, "PATIENCE", 0.2)
    assert notifier("sleep 60")(DONE) == "sleep took more than 0.2 s"


def test_a_command_that_vanished(tmp_path: Path) -> None:
    script = tmp_path / "tell"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    tell = notifier(str(script))
    script.unlink()
    assert tell(DONE) == f"{script}: No such file or directory"


@pytest.mark.parametrize(
    "text",
    ["http://", "https://[::1", "http://h:99999/", "http://h:x/", "no-such-program", "'open", " "],
)
def test_what_is_neither(text: str) -> None:
    with pytest.raises(ConfigError, match="--notify"):
        notifier(text)


def test_a_host_that_is_no_name() -> None:
    wrong = notifier(f"http://{'x' * 70}.example/a", sleep=lambda _: None)(DONE)
    assert wrong is not None
