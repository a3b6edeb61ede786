from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import UnreachableError
from ftjobs.schema import Job
from ftjobs.server.app import THREADS
from ftjobs.server.health import Probe
from tests.server.conftest import Serve, Served


class Moody(FakeBackend):
    """A backend that hangs while `gate` is shut, and fails where `fails` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.fails = threading.Event(), False
        self.asked = threading.Semaphore(0)

    def jobs(self, *, metadata: Mapping[str, str] | None = None) -> Iterator[Job]:
        self.asked.release()
        self.gate.wait(30)
        if self.fails:
            raise UnreachableError("no connection to secret.example")
        return super().jobs(metadata=metadata)


def get(served: Served, path: str) -> httpx2.Response:
    return served.http.get(served.url.removesuffix("/v1") + path)


def ready(served: Served) -> tuple[int, dict[str, Any]]:
    found = get(served, "/readyz")
    return found.status_code, found.json()


def test_it_lives_before_it_is_ready(serve: Serve) -> None:
    backend = Moody()
    with serve(backend) as served:
        assert ready(served) == (
            503, {"status": "not ready", "database": "ok", "backend": "loading"}
        )  # fmt: skip
        assert get(served, "/healthz").json() == {"status": "ok"}
        assert served.http.request("HEAD", served.url[:-3] + "/healthz").status_code == 200
        backend.gate.set()
        assert ready(served)[0] == 200


def test_it_lives_though_every_thread_waits_for_the_backend(serve: Serve) -> None:
    backend = Moody()
    with serve(backend) as served, ThreadPoolExecutor(THREADS + 8) as pool:
        calls = [pool.submit(served.http.get, "/fine_tuning/jobs") for _ in range(THREADS + 8)]
        for _ in range(THREADS):
            assert backend.asked.acquire(timeout=20)
        try:
            assert served.http.get(served.url[:-3] + "/healthz", timeout=5).status_code == 200
        finally:
            backend.gate.set()
        assert {call.result().status_code for call in calls} == {200}


def test_a_backend_that_fails_is_not_ready_and_nothing_is_said_of_why(serve: Serve) -> None:
    backend = Moody()
    backend.fails = True
    backend.gate.set()
    with serve(backend) as served:
        status, body = ready(served)
        assert (status, body["backend"]) == (503, "failed")
        assert "secret" not in str(body)
        served.desk.keys.create("a", "read")
        assert ready(served)[0] == 503  # without a key


def test_metrics_do_without_jobs_that_cannot_be_counted(serve: Serve) -> None:
    backend = Moody()
    backend.fails = True
    backend.gate.set()
    with serve(backend) as served:
        found = get(served, "/metrics")
    assert found.status_code == 200
    assert "ftjobs_jobs{" not in found.text


def test_a_backend_is_asked_once_for_many_who_look() -> None:
    asked: list[int] = []
    gate = threading.Event()

    def ask() -> None:
        asked.append(1)
        gate.wait(30)

    probe = Probe(ask, patience=0.01)
    assert [probe.look() for _ in range(5)] == ["loading"] * 5
    gate.set()
    assert Probe(ask).look() == "ok"
    assert probe._answered.wait(30)
    assert [probe.look() for _ in range(5)] == ["ok"] * 5
    assert len(asked) == 2
