"""The whole command line in this process, over a scripted backend."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.jobs.ledger import Ledger
from tests.cli.terminal import Open, Terminal

DATASETS = Path(__file__).parents[2] / "datasets"
TRAIN = str(DATASETS / "support/train.jsonl")


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON Lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _bare_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("FTJOBS_") or name in ("CI", "NO_COLOR", "OPENAI_API_KEY"):
            monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "FTJOBS_HOME", "FTJOBS_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("COLUMNS", "100")  # where lines end is not to depend on who runs the tests
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(steps=2, answers={"q": "an \x1b[31manswer"})


@pytest.fixture
def run(backend: FakeBackend, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*args: str) -> Result:
        code = main(args, connect=lambda settings: Client(backend, ledger=Ledger(settings.home)))
        done = capsys.readouterr()
        return Result(code, done.out, done.err)

    return run


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands rest between looks; a scripted job needs none."""
    monkeypatch.setattr("ftjobs.jobs.watch.SHORTEST", 0.001)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    passed = {name: os.environ[name] for name in ("PATH", "VIRTUAL_ENV") if name in os.environ}
    return {
        **passed,
        "HOME": str(tmp_path),
        "FTJOBS_HOME": str(tmp_path / "home"),
        "CANCELLED": str(tmp_path / "cancelled"),
        "TERM": "xterm-256color",
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }


@pytest.fixture
def terminal(environ: dict[str, str]) -> Iterator[Open]:
    opened: list[Terminal] = []

    def start(*args: str, **size: int) -> Terminal:
        opened.append(Terminal(*args, environ=environ, **size))
        return opened[-1]

    yield start
    for one in opened:
        one.close()
