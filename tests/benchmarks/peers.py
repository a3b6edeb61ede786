"""The peers that benchmarks compare with, each in an environment of its own, made once.

They get the versions of torch, transformers and PEFT that `constraints.txt` gives us, so that only
the peer's own work differs.  The environments are in ftjobs' cache folder (FTJOBS_CACHE).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
from filelock import FileLock

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
SHARED = ("torch", "transformers", "peft", "accelerate")
_TRL = ("trl==1.16.0", "datasets==5.2.0")
REQUIREMENTS = {"trl": _TRL, "unsloth": (*_TRL, "requests")}
ALONE = {"unsloth": ("unsloth==2026.10.9", "unsloth_zoo==2026.10.9")}
"""Packages that are installed without what they ask for: gigabytes for GPUs."""


class PeerError(Exception):
    """A peer could not be installed, or failed; the end of what it said is in the message."""


def python(name: str) -> Path:
    """The interpreter of a peer's environment, which is made first if it is not there.

    Raises:
        PeerError: it cannot be installed.
    """
    wanted = [*REQUIREMENTS[name], *_shared()]
    alone = ALONE.get(name, ())
    digest = hashlib.sha256("\n".join([sys.version, *wanted, *alone]).encode()).hexdigest()
    folder = _cache() / f"{name}-{digest[:12]}"
    ready = folder / "ready"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not ready.exists():
            print(f"Installing {name} into {folder} (once)", flush=True)
            shutil.rmtree(folder, ignore_errors=True)  # half of an earlier attempt
            _call(sys.executable, "-m", "venv", str(folder))
            pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet")
            _call(*pip, *wanted)
            if alone:
                _call(*pip, "--no-deps", *alone)
            ready.touch()
    return folder / "bin" / "python"


def run(name: str, script: str, *words: str | Path) -> str:
    """What a script beside this file prints when the peer's interpreter runs it, offline.

    Raises:
        PeerError: it cannot be installed, or the script fails.
    """
    path = Path(__file__).with_name(script)
    # -P: this folder and the one above hold modules named like others (statistics, datasets).
    return _call(str(python(name)), "-P", str(path), *map(str, words), HF_HUB_OFFLINE="1")


def _shared() -> list[str]:
    """What a peer shares with us, in the versions that we have."""
    lines = CONSTRAINTS.read_text("utf-8").splitlines()
    return [line for line in lines if line.partition("==")[0] in SHARED]


def _cache() -> Path:
    chosen = os.environ.get("FTJOBS_CACHE")
    cache = Path(chosen) if chosen else platformdirs.user_cache_path("ftjobs", appauthor=False)
    return cache / "peers"


def _call(*words: str, **environment: str) -> str:
    done = subprocess.run(
        words, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PeerError(f"{words[0]} failed:\n{done.stderr[-2000:]}")
    return done.stdout
