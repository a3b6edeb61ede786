"""What a machine has, from the files in which Linux says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.fit import machine
from ftjobs.backends.local.fit.machine import Room, room
from ftjobs.backends.local.fit.probe import Probe, probed

GB = 10**9


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine with 16 GB, of which 12 are free."""
    write(tmp_path / "proc" / "meminfo", "MemTotal: 16000000 kB\nMemAvailable: 12000000 kB\n")
    return tmp_path / "proc"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(folder: Path, limit: str, used: int, cached: int) -> None:
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 1\ninactive_file {cached}\n")


def test_without_a_limit_it_is_what_the_kernel_says(proc: Path, tmp_path: Path) -> None:
    found = Room(12_288 * 10**6, 16_384 * 10**6)
    assert room(proc, tmp_path / "cgroup") == found
    write(proc / "self" / "cgroup", "0::/a/b\n")
    group(tmp_path / "cgroup" / "a" / "b", "max", 5 * GB, 0)
    assert room(proc, tmp_path / "cgroup") == found


def test_the_tightest_group_counts(proc: Path, tmp_path: Path) -> None:
    write(proc / "self" / "cgroup", "0::/a/b\n")
    group(tmp_path / "cgroup" / "a" / "b", str(8 * GB), 3 * GB, GB)
    assert room(proc, tmp_path / "cgroup") == Room(6 * GB, 8 * GB)  # cached files are given back
    group(tmp_path / "cgroup" / "a", str(4 * GB), 5 * GB, 0)
    assert room(proc, tmp_path / "cgroup") == Room(0, 4 * GB)


def test_in_a_container_the_own_group_is_the_root(proc: Path, tmp_path: Path) -> None:
    write(proc / "self" / "cgroup", "0::/docker/abc\n")
    group(tmp_path / "cgroup", str(2 * GB), GB, 0)
    assert room(proc, tmp_path / "cgroup") == Room(GB, 2 * GB)


def test_groups_of_the_first_version(proc: Path, tmp_path: Path) -> None:
    write(proc / "self" / "cgroup", "3:cpu:/x\n2:memory:/x\n0::/\n")
    folder = tmp_path / "cgroup" / "memory" / "x"
    write(folder / "memory.limit_in_bytes", str(3 * GB))
    write(folder / "memory.usage_in_bytes", str(GB))
    write(folder / "memory.stat", f"total_inactive_file {GB // 2}\n")
    assert room(proc, tmp_path / "cgroup") == Room(int(2.5 * GB), 3 * GB)


@pytest.mark.parametrize("text", ["", "MemTotal: 5 kB\n", "MemAvailable: much\n\0"])
def test_where_nothing_is_said_nothing_is_known(tmp_path: Path, text: str) -> None:
    write(tmp_path / "meminfo", text)
    assert room(tmp_path, tmp_path) is None
    assert machine.processor(tmp_path) == ("", frozenset())


def test_this_machine() -> None:
    assert machine.resident(os.getpid()) > 10_000_000
    assert machine.cores() >= 1
    found = room()
    assert found is not None
    assert 0 < found.free <= found.total


def test_the_dtype_is_that_of_training() -> None:
    assert machine.usual_dtype(machine.processor()[1]) == models.pick_dtype("cpu")
    assert machine.usual_dtype(frozenset({"avx2"})) == "float32"


# --- the probe --------------------------------------------------------------------------------


def test_a_measurement_is_kept_for_this_device(tmp_path: Path) -> None:
    first = probed(tmp_path, now=True)
    assert first is not None
    assert first.flops[first.dtype] > 1e8
    assert probed(tmp_path) == first
    path = tmp_path / "device.json"
    said = json.loads(path.read_text())
    said["probe"]["flops"] = dict.fromkeys(first.flops, 1e18)
    path.write_text(json.dumps(said))
    again = probed(tmp_path, now=True)  # the best of all times
    assert again is not None
    assert set(again.flops.values()) == {1e18}
    path.write_text(json.dumps({**said, "key": ["another torch"]}))
    other = probed(tmp_path)
    assert other is not None
    assert max(other.flops.values()) < 1e18


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": 1}', '{"key": [], "probe": {}}'])
def test_a_damaged_measurement_is_made_again(tmp_path: Path, text: str) -> None:
    (tmp_path / "device.json").write_text(text)
    assert isinstance(probed(tmp_path, now=True), Probe)
    assert probed(tmp_path) is not None


def test_nothing_is_measured_where_torch_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from ftjobs.backends.local.fit.probe import probed;"
        "found = probed(pathlib.Path(sys.argv[1]));"
        "sys.exit(found is not None or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 0
    assert not list(tmp_path.iterdir())
