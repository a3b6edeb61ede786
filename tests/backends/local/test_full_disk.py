"""A full disk, for real: a small file system of memory in a namespace of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.backends.local.conftest import write_dataset

# Runs inside the namespace.  Nothing is mounted anywhere else, and all is gone when it ends.
SCRIPT = """
import os, sys, threading
from pathlib import Path
from ftjobs.backends.local import worker
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.errors import StoreError
from ftjobs.schema import JobSpec

disk, model, dataset, case = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
worker.ensure = lambda *_: False
backend = LocalBackend(Settings(home=disk / "home", cache=disk / "cache"))

def fill(leave: int) -> Path:
    ballast = disk / "ballast"
    handle = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(handle, b"x" * 4096)
    except OSError:
        os.ftruncate(handle, max(0, os.fstat(handle).st_size - leave))
    os.close(handle)
    return ballast

if case == "upload":
    big = dataset.with_name("big.jsonl")
    big.write_bytes(dataset.read_bytes() * 8000)
    try:
        backend.upload(big)
    except StoreError as error:
        print(error)
    assert list(backend.files()) == []
    assert list((disk / "home" / "files").iterdir()) == [], "half a file is left"
    assert backend.upload(dataset).bytes == dataset.stat().st_size  # room again
else:
    spec = {"n_epochs": 2, "batch_size": 2}
    file = backend.upload(dataset).id
    job = backend.create(
        JobSpec(model=model, training_file=file, seed=1, hyperparameters=spec))
    ballast = fill(leave=120_000)  # enough for rows, too little for a checkpoint
    backend.store.claim("me")
    worker.run_job(backend.store, disk / "cache", "me", job.id, threading.Event())
    events = backend.events(job.id)
    print(backend.store.job(job.id).status, "|", events[-2].message)
    assert backend.checkpoints(job.id) == []
    assert list(backend.store.job_folder(job.id).glob("ckpt-*")) == []
    ballast.unlink()
    assert backend.resume(job.id).status == "queued"
    backend.store.claim("me again")
    worker.run_job(backend.store, disk / "cache", "me again", job.id, threading.Event())
    print(backend.store.job(job.id).status)
    assert len({event.id for event in backend.events(job.id)}) == len(backend.events(job.id))
"""


def in_small_disk(tmp_path: Path, model: Path, case: str) -> str:
    """Run SCRIPT on a disk of 8 MB; its output."""
    disk = tmp_path / "disk"
    disk.mkdir()
    dataset = write_dataset(tmp_path / "train.jsonl", 12)
    unshare = shutil.which("unshare")
    assert unshare, "util-linux is needed for this test"
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount -t tmpfs -o size=8m ftjobs "$1" && shift && exec "$@"'
    words = [sys.executable, "-c", SCRIPT, str(disk), str(model), str(dataset), case]
    done = subprocess.run(
        [unshare, *user, "--mount", "sh", "-c", script, "sh", str(disk), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_an_upload_that_does_not_fit_leaves_nothing(tmp_path: Path, tiny_model: Path) -> None:
    output = in_small_disk(tmp_path, tiny_model, "upload")
    assert "the disk is full" in output
    assert "Free some space" in output


def test_a_job_on_a_full_disk_is_paused_and_goes_on(tmp_path: Path, tiny_model: Path) -> None:
    lines = in_small_disk(tmp_path, tiny_model, "job").splitlines()
    assert lines[-2].startswith("paused | The disk is full. Free some space")
    assert lines[-1] == "succeeded"
