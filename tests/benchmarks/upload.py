"""Uploading 2 GB over loopback: peak memory, speed, and how much is sent again after a kill.

    python -m tests.benchmarks.upload [BYTES]

Limits: 150 MB at most, and after a kill nothing is sent again but what was on its way.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import PROFILES
from ftjobs.backends.wire import WireBackend
from tests.service import KEY, LARGEST_PART, Json, Request, Service, serving

BYTES = 2_000_000_000
NAME = "rows.0123456789abcdef.jsonl"
COPIES = 3  # the file, its parts, and the whole at the service
MARK = 16  # bytes at the start of each part that tell it from others


class Counting(Service):
    """Counts how often each part came, by its first bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(FakeBackend(), folder)
        self.came: Counter[bytes] = Counter()

    def post_parts(self, request: Request, upload_id: str) -> Json:
        path = request.form["data"].path
        assert path is not None
        with path.open("rb") as part:
            self.came[part.read(MARK)] += 1
        answer: Json = super().post_parts(request, upload_id)
        return answer


def uploading(size: int = BYTES) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        room = shutil.disk_usage(folder).free
        if room < (COPIES + 1) * size:
            raise SystemExit(f"{room / 1e9:.0f} GB free, {(COPIES + 1) * size / 1e9:.0f} needed")
        path = generate(Path(folder) / "rows.jsonl", size)
        _whole(path, size)
        _killed(path, size)


def _whole(path: Path, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder, serving(Counting(Path(folder))) as service:
        found = json.loads(_start(service.url, path, Path(folder) / "home").communicate()[0])
        _check(service, path, found["id"])
    speed = size / found["seconds"] / 1e6
    print(
        f"upload of {size / 1e9:.1f} GB: {found['peak']:.0f} MB of memory at most "
        f"({found['before']:.0f} before), {found['seconds']:.1f} s, {speed:.0f} MB/s",
        flush=True,
    )


def _killed(path: Path, size: int) -> None:
    parts = -(-size // LARGEST_PART)
    with tempfile.TemporaryDirectory() as folder, serving(Counting(Path(folder))) as service:
        home = Path(folder) / "home"
        victim = _start(service.url, path, home)
        while service.counts["post_parts"] < parts // 2:
            assert victim.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        victim.kill()
        victim.communicate()
        before = service.counts["post_parts"]
        found = json.loads(_start(service.url, path, home).communicate()[0])
        _check(service, path, found["id"])
        again = sum(service.came.values()) - len(service.came)
        uploads = len(service.uploads)
    print(
        f"killed after {before} of {parts} parts and run again: "
        f"{again} sent twice, {uploads} upload(s), {found['seconds']:.1f} s",
        flush=True,
    )


def generate(path: Path, size: int) -> Path:
    """A file of `size` bytes, mostly holes, whose parts differ."""
    with path.open("wb") as file:
        file.truncate(size)
        for number, place in enumerate(range(0, size - MARK, LARGEST_PART)):
            file.seek(place)
            file.write(f"part {number:011}".encode())
    return path


def _check(service: Service, path: Path, file_id: str) -> None:
    """Exactly one file is there, with exactly these bytes."""
    (file,) = service.files()
    assert (file.id, file.bytes) == (file_id, path.stat().st_size)
    command = ["cmp", str(path), str(service._large[file_id][1])]
    assert subprocess.run(command, check=False).returncode == 0


def _start(url: str, path: Path, home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", __spec__.name, url, str(path), str(home)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def _child(url: str, path: Path, home: Path) -> None:
    """Upload, and print what it took."""
    unit = 1e6 if sys.platform == "darwin" else 1e3  # of ru_maxrss: bytes or kilobytes
    with closing(WireBackend("loopback", PROFILES["openai"].at(url), KEY, journal=home)) as backend:
        list(backend.files())  # imports what there is to import
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        began = time.perf_counter()
        file = backend.upload(path, name=NAME)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"id": file.id, "peak": peak, "before": before, "seconds": seconds}))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        uploading(*map(int, sys.argv[1:]))
