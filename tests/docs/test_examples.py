"""Every Python block of the documentation runs, or at least compiles; those of docs/ are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ftjobs
from ftjobs.backends.fake import FakeBackend
from tests.docs.pages import PAGES, ROOT, Block, Page

WITH_PYTHON = [p for p in PAGES if any(b.language == "python" for b in p.blocks)]
CHECK = ("-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary")


def python(page: Page) -> list[Block]:
    return [block for block in page.blocks if block.language == "python"]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_examples_run(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's blocks run in order, in one namespace, over a scripted backend."""
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    monkeypatch.chdir(tmp_path)
    backend = FakeBackend(steps=3, models=("smollm2-135m",))
    monkeypatch.setattr(ftjobs, "connect", lambda name=None: ftjobs.Client(backend))
    monkeypatch.setattr("ftjobs.jobs.watch.SHORTEST", 0.001)
    names: dict[str, object] = {"__name__": "example"}
    for block in python(page):
        lines = "\n" * block.line + block.text  # so that a traceback names the page's own line
        code = compile(lines, page.name, "exec")
        if block.runs:
            exec(code, names)


def test_examples_are_typed(tmp_path: Path) -> None:
    files: list[Path] = []
    for page in WITH_PYTHON:
        files.append(tmp_path / f"page_{page.path.stem.replace('-', '_').replace('.', '_')}.py")
        files[-1].write_text("\n".join(block.text for block in python(page)), "utf-8")
    environ = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *CHECK, *map(str, files)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_examples() -> None:
    assert sum(block.runs for page in WITH_PYTHON for block in python(page)) >= 8
