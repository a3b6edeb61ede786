"""The clients that are tried, each in an environment of its own, made once.

`environments.toml` names every package and version.  Environments are in `.venv/clients`, under a
digest of what they hold.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
PACKAGES: dict[str, dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("environments.toml").read_text("utf-8")
)


def python(name: str) -> Path:
    """The interpreter of a client's environment, which is made first if it is not there."""
    return _environment(name, "pip") / "bin" / "python"


def node(name: str) -> tuple[Path, Path]:
    """The program `node` of an environment, and its folder of packages."""
    packages = _environment(name, "npm") / "node_modules"
    return packages / ".bin" / "node", packages


def _environment(name: str, tool: str) -> Path:
    wanted = PACKAGES[name][tool]
    digest = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
    folder = ROOT / ".venv" / "clients" / f"{name}-{digest[:12]}"
    ready = folder / "ready"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not ready.exists():
            print(f"Installing {name} into {folder} (once)", flush=True)
            shutil.rmtree(folder, ignore_errors=True)  # half of an earlier attempt
            (_pip if tool == "pip" else _npm)(folder, wanted)
            ready.touch()
    return folder


def _pip(folder: Path, wanted: list[str]) -> None:
    _call(sys.executable, "-m", "venv", str(folder))
    interpreter = str(folder / "bin" / "python")
    _call(interpreter, "-m", "pip", "install", "--quiet", "--no-deps", *wanted)


def _npm(folder: Path, wanted: list[str]) -> None:
    folder.mkdir()
    quiet = ("--no-audit", "--no-fund", "--no-save", "--loglevel=error")
    _call("npm", "install", *quiet, "--prefix", str(folder), *wanted)


def _call(*words: str) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_TARGET", "PYTHON"))}
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
