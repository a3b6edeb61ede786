"""The afternoon of "Leave OpenAI", from its first command to its last, with OpenAI on loopback."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ExitCode
from ftjobs.schema import Hyperparameters, Job, JobSpec
from tests import service
from tests.clients.environments import PACKAGES
from tests.docs.pages import COMMAND, ROOT, Page
from tests.docs.test_commands import split
from tests.tiny import save_model

PAGE = Page(ROOT / "docs/how-to/leave-openai.md")
BASE = "gpt-4o-mini-2024-07-18"
PROMPTS = 2
VERDICTS = {ExitCode.OK, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE}


@dataclass
class Afternoon:
    """A folder to work in, and what the page's own names stand for here."""

    folder: Path
    environ: dict[str, str]
    names: dict[str, str]
    port: int

    def words(self, line: str) -> list[str]:
        """The words of a command, with the names of this place."""
        words = split(line)
        for old, new in self.names.items():
            words = [word.replace(old, new) for word in words]
        return words

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ftjobs", *self.words(line)],
            cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip

    @contextmanager
    def serving(self, line: str) -> Iterator[None]:
        """What the page leaves running in another terminal."""
        words = [sys.executable, "-m", "ftjobs", *self.words(line), "--port", str(self.port)]
        with subprocess.Popen(
            words, cwd=self.folder, env=self.environ, stderr=subprocess.PIPE, text=True
        ) as server:
            assert server.stderr is not None
            first = server.stderr.readline()
            assert f":{self.port}" in first, first + server.stderr.read()
            yield
            server.terminate()
            server.communicate(timeout=60)
        assert server.returncode == 0


@pytest.fixture
def afternoon(tmp_path: Path) -> Iterator[Afternoon]:
    """An account with a job that has succeeded, a model to train at home, and prompts."""
    folder = tmp_path / "work"
    models = folder / "models"
    models.mkdir(parents=True)
    save_model(models / "tiny")
    (models / BASE).symlink_to(models / "tiny")
    for name, count in (("train", 10), ("eval", PROMPTS)):
        rows = (ROOT / f"datasets/support/{name}.jsonl").read_text("utf-8").splitlines(True)
        (folder / f"{name}.jsonl").write_text("".join(rows[:count]), "utf-8")
    backend = FakeBackend(steps=3, models=(BASE,))
    job = tuned(backend, folder / "train.jsonl")
    with service.running(backend) as there:
        (tmp_path / "ftjobs").mkdir()
        (tmp_path / "ftjobs/config.toml").write_text(
            f'[profiles.openai]\nbase_url = "{there.url}"\n[profiles.openai.capabilities]\n'
            "list_lag = 0.0\nevents_lag = 0.0\n"
        )
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "XDG_CONFIG_HOME": str(tmp_path),
            "FTJOBS_HOME": str(tmp_path / "home"),
            "FTJOBS_CACHE": str(tmp_path / "cache"),
            "OPENAI_API_KEY": service.KEY,
            "PYTHONPATH": str(ROOT),
        }
        names = {
            f"ft:{BASE}:acme:support:abc123": str(job.fine_tuned_model),
            "ftjob-abc123": job.id,
            "smollm2-135m": str(models / "tiny"),
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        yield Afternoon(folder, environ, names, port)


def tuned(backend: FakeBackend, train: Path) -> Job:
    job = backend.create(
        JobSpec(
            model=BASE,
            training_file=backend.upload(train).id,
            suffix="support",
            hyperparameters=Hyperparameters(n_epochs=1),
        )
    )
    while not job.ended:
        job = backend.retrieve(job.id)
    return job


def commands() -> list[str]:
    """Every command of ftjobs on the page, in order."""
    found = []
    for block in PAGE.blocks:
        if block.language == "sh":
            matches = (COMMAND.match(line.strip()) for line in block.text.splitlines())
            found += [match[1] for match in matches if match]
    return found


def ask(afternoon: Afternoon) -> None:
    """Run the page's Python, at this server's port."""
    [block] = [block for block in PAGE.blocks if block.language == "python"]
    assert ":8000/" in block.text
    done = subprocess.run(
        [sys.executable, "-c", block.text.replace(":8000/", f":{afternoon.port}/")],
        env=afternoon.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip("\n")


def test_the_afternoon(afternoon: Afternoon) -> None:
    served = compared = 0
    for line in commands():
        if line.startswith("serve"):
            with afternoon.serving(line):
                if not served:
                    ask(afternoon)
            served += 1
            continue
        if "/jobs/" in line:  # the folder of a job has its day in its name
            [folder] = (afternoon.folder / "leaving/jobs").iterdir()
            afternoon.names["2026-11-03-support--" + afternoon.names["ftjob-abc123"]] = folder.name
        done, is_comparison = afternoon.run(line), line.startswith("compare")
        allowed = VERDICTS if is_comparison else {ExitCode.OK}
        assert done.returncode in allowed, f"ftjobs {line}\n{done.stdout}\n{done.stderr}"
        compared += is_comparison
    assert (served, compared) == (2, 1)
    assert (afternoon.folder / "report.html").stat().st_size > 1000
    answers = (afternoon.folder / "answers.jsonl").read_text("utf-8")
    assert len(answers.splitlines()) == PROMPTS


def test_the_clients_are_those_that_are_tried() -> None:
    tried = [table.get("pip", table.get("npm", [""]))[0] for table in PACKAGES.values()]
    versions = sorted(re.split("==|@", each)[1] for each in tried)
    assert (
        sorted(re.findall(r"^\| [^|]+ \| (\d+\.\d+\.\d+) \|", PAGE.text, re.MULTILINE)) == versions
    )


def test_every_command_of_the_page_is_found() -> None:
    assert [shlex.split(line)[0] for line in commands()].count("--backend") >= 5
    assert len(commands()) >= 12
