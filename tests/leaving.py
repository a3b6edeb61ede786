"""A service that kills its client with SIGKILL, and the command line as a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import ANY_URL
from ftjobs.backends.retry import RetryPolicy
from ftjobs.backends.wire import WireBackend
from tests.service import KEY, Request, Service, serving


class Deadly(Service):
    """Kills the process `victim` around the request after `lives` others."""

    victim: subprocess.Popen[str] | None = None
    lives = 0
    random = Random(0)

    def arrived(self, request: Request) -> None:
        super().arrived(request)
        if self.victim is not None:
            self.lives -= 1
            if self.lives < 0:
                threading.Timer(self.random.uniform(0, 0.006), self.victim.kill).start()
                self.victim = None


@contextmanager
def deadly(backend: FakeBackend, folder: Path, seed: int) -> Iterator[Deadly]:
    """Such a service on loopback."""
    folder.mkdir()
    service = Deadly(backend, folder)
    service.random = Random(seed)
    with serving(service):
        yield service


def program(service: Service, home: Path, *args: str) -> subprocess.Popen[str]:
    """`ftjobs ARGS` against the service, as a process of its own."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("FTJOBS_")}
    environ |= {"FTJOBS_API_KEY": KEY, "FTJOBS_HOME": str(home), "FTJOBS_CACHE": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "ftjobs", "--backend", service.url, *args],
        env=environ,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def killed_until_done(service: Deadly, home: Path, kills: int, span: int, *args: str) -> int:
    """Run a command and kill it within `span` requests, `kills` times; then let it end.

    Returns how often the kill came before the end.
    """
    killed = 0
    for _ in range(kills):
        process = program(service, home, *args)
        service.lives, service.victim = service.random.randrange(span), process
        _, said = process.communicate(timeout=30)
        service.victim = None
        assert process.returncode in (-signal.SIGKILL, 0), said
        killed += process.returncode == -signal.SIGKILL
    process = program(service, home, *args)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return killed


@contextmanager
def hosted(
    service: Service, name: str = "hosted", *, events_lag: float = 0.0
) -> Iterator[WireBackend]:
    """The wire backend of a service; its retries wait for nothing."""
    waited: list[float] = []
    able = ANY_URL.capabilities.model_copy(update={"events_lag": events_lag, "requests_at_once": 4})
    profile = ANY_URL.model_copy(update={"base_url": service.url, "capabilities": able})
    policy = RetryPolicy(sleep=waited.append, now=lambda: sum(waited))
    with closing(WireBackend(name, profile, KEY, retry=policy)) as backend:
        yield backend
