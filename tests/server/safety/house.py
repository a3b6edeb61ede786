"""`ftjobs serve` as a process that is killed and started again, always at the same address."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.server.database import Database
from ftjobs.server.keys import Keys
from tests import tiny
from tests.backends.local.conftest import stop_worker

ROOT = Path(__file__).parents[3]
FTJOBS = ("-m", "ftjobs")
STARTING = 60.0
"""Seconds that a start may take on a busy machine."""


@dataclass
class House:
    """A home that is served over this machine's own backend, with a tiny model named "tiny".

    `store` is what the backend really holds, seen beside the server.  Other `words` name a program
    with a backend of its own.  `cache` is where the default model is found.
    """

    folder: Path
    limits: dict[str, object] = field(default_factory=dict)
    words: tuple[str, ...] = FTJOBS
    cache: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.cache = self.cache or self.folder / "cache"
        self.home, self.log = self.folder / "home", self.folder / "serve.log"
        with socket.socket() as sock:  # the address stays the same, as a client's base_url does
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        settings: dict[str, object] = {
            "port": self.port,
            "requests_per_minute": 10**9,
            "connections": 4096,
            "connections_per_address": 4096,
        }
        lines = [f"{name} = {json.dumps(each)}" for name, each in (settings | self.limits).items()]
        if self.words == FTJOBS:
            model = tiny.save_model(self.folder / "tiny")
            lines += ["[serve.models]", f"tiny = {json.dumps(str(model))}"]
        text = "\n".join([f"home = {json.dumps(str(self.home))}", "[serve]", *lines])
        (self.folder / "ftjobs.toml").write_text(text + "\n", "utf-8")
        self.backend = LocalBackend(Settings(home=self.home, cache=self.cache))
        self.store = self.backend.store
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def key(self, project: str) -> str:
        """A new key that may train."""
        with closing(Database(self.home)) as database:
            return Keys(database).create(project, "train")[1]

    def start(self) -> float:
        """Start the server; the seconds until it answers."""
        began = time.monotonic()
        environ = {name: text for name, text in os.environ.items() if "FTJOBS" not in name}
        environ |= {"PYTHONPATH": str(ROOT), "FTJOBS_CACHE": str(self.cache)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.words, "serve"],
                cwd=self.folder,
                env=environ,
                stdout=log,
                stderr=log,
            )
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < began + STARTING, self.log.read_text()
            time.sleep(0.02)
        return time.monotonic() - began

    def kill(self, *, worker: bool = False) -> None:
        """SIGKILL for the server, and for the process that trains."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if worker:
            stop_worker(self.backend)

    def memory(self, *, peak: bool = False) -> int:
        """Bytes that the server has now, or had at most."""
        name = "VmHWM" if peak else "VmRSS"
        status = self._about("status").read_text()
        return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024

    def descriptors(self) -> int:
        """Open files and connections of the server, once those that are over are closed."""
        counts = []
        for _ in range(20):
            counts.append(len(list(self._about("fd").iterdir())))
            time.sleep(0.05)
        return min(counts)

    def _about(self, name: str) -> Path:
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/{name}")

    def close(self) -> None:
        """End what was started."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        stop_worker(self.backend)

    def _answers(self) -> bool:
        try:
            url = self.url.removesuffix("/v1") + "/healthz"
            return httpx2.get(url, trust_env=False, timeout=5).status_code == 200
        except httpx2.TransportError:
            return False
