"""`ftjobs jobs list` against a loopback service, beside `import openai` alone.

    python -m tests.benchmarks.start

Whole processes, medians.  Limits: 0.9 s, of which ftjobs adds at most 0.3 s to the import.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ftjobs.schema import JobSpec
from tests.contract.conftest import write_dataset
from tests.service import KEY, running

ROUNDS = 9
JOBS = 20
LISTING = ("-m", "ftjobs", "jobs", "list")
IMPORT = ("-c", "import openai")


def starting() -> None:
    with tempfile.TemporaryDirectory() as folder, running() as service:
        file = service.backend.upload(write_dataset(Path(folder) / "train.jsonl"))
        for _ in range(JOBS):
            service.backend.create(JobSpec(model="fake-base", training_file=file.id))
        environ = {"FTJOBS_BACKEND": service.url, "FTJOBS_API_KEY": KEY, "FTJOBS_HOME": folder}
        rounds = [(_seconds(LISTING, environ), _seconds(IMPORT, {})) for _ in range(ROUNDS + 1)]
        assert service.count("GET", "/fine_tuning/jobs") >= ROUNDS
    ours, peer = (statistics.median(each) for each in zip(*rounds[1:], strict=True))
    print(f"ftjobs jobs list {ours:.2f} s, import openai {peer:.2f} s, added {ours - peer:.2f} s")


def _seconds(words: tuple[str, ...], environ: Mapping[str, str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, *words]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return time.perf_counter() - began


if __name__ == "__main__":
    starting()
