"""A real `ftjobs serve` with a tiny model, and accounts on it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.environments import ROOT

FTJOBS = str(Path(sys.executable).with_name("ftjobs"))
MODEL = "support-base"
NAMED = "gpt-4.1-nano-2025-04-14"
"""A base model under a name that a program of others insists on, in a folder of that name."""
TRAIN = ROOT / "datasets/support/train.jsonl"


@dataclass
class Server:
    """A running server: its base URL, and the environment in which its operator works."""

    url: str
    environ: dict[str, str]
    folder: Path

    def operate(self, *words: str) -> dict[str, Any]:
        """What `ftjobs serve WORDS --json` says."""
        done = subprocess.run(
            [FTJOBS, "serve", *words, "--json"],
            env=self.environ, cwd=self.folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@dataclass
class Account:
    """A project with a key, and a webhook that comes to `port`."""

    environ: dict[str, str]
    port: int
    secret: str


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`ftjobs serve` as a process of its own, which trains a tiny model for real."""
    from tests.tiny import save_model

    folder = tmp_path_factory.mktemp("server")
    save_model(folder / "tiny")
    (folder / NAMED).symlink_to(folder / "tiny")
    environ = clean_environment() | {
        "FTJOBS_HOME": str(folder / "home"),
        "FTJOBS_CACHE": str(folder / "cache"),
        "HOME": str(folder),
    }
    models = {MODEL: folder / "tiny", NAMED: folder / NAMED}
    words = [FTJOBS, "serve", "--port", "0"]
    for name, path in models.items():
        words += ["--model", f"{name}={path}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            words, env=environ, cwd=folder, stderr=subprocess.PIPE, stdout=log, text=True
        )
        try:
            assert process.stderr is not None
            first = process.stderr.readline()
            found = re.search(r"at (http://\S+)", first)
            assert found, first + process.stderr.read()
            yield Server(f"{found[1]}/v1", environ, folder)
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[1]
        assert process.returncode == 0, said
        assert "Traceback" not in said, said


@pytest.fixture(scope="session")
def account(server: Server) -> Callable[[str], Account]:
    """Makes the account of a project."""

    def open_(project: str) -> Account:
        key = server.operate("keys", "create", "--project", project, "--scope", "train")["key"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        url = f"http://127.0.0.1:{port}/webhook"
        made = server.operate("webhooks", "create", "--url", url, "--project", project)
        # All that a client of OpenAI is told of another place.
        environ = clean_environment() | {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": key}
        return Account(environ, port, made["secret"])

    return open_


def clean_environment() -> dict[str, str]:
    """This environment, without what would lead programs elsewhere."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: os.environ[name] for name in kept if name in os.environ}
