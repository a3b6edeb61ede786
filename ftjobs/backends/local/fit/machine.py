"""What this machine has: memory that is free, cores, and the number types that it multiplies.

Read from /proc and the control groups of Linux; elsewhere, what cannot be known is None.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC, _CGROUP = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Room:
    """Memory in bytes: what programs may take now, and all that there is."""

    free: int
    total: int


def room(proc: Path = _PROC, cgroup: Path = _CGROUP) -> Room | None:
    """The memory that a program of this process's control group can have."""
    lines = _fields(proc / "meminfo")
    try:
        free, total = lines["MemAvailable"] * 1024, lines["MemTotal"] * 1024
    except KeyError:
        return None
    for limit, used in _limits(proc, cgroup):
        free, total = min(free, max(0, limit - used)), min(total, limit)
    return Room(free, total)


def resident(pid: int, proc: Path = _PROC) -> int:
    """Bytes that a process holds in memory; 0 if there is none."""
    return _fields(proc / str(pid) / "status").get("VmRSS", 0) * 1024


def cores() -> int:
    """On which this process may run."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def processor(proc: Path = _PROC) -> tuple[str, frozenset[str]]:
    """The name of the CPU, and its features."""
    try:
        text = (proc / "cpuinfo").read_text("utf-8", errors="replace")
    except OSError:
        return "", frozenset()
    found = {}
    for line in text.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        found[name.strip()] = value.strip()
    return found.get("model name", ""), frozenset(found.get("flags", "").split())


def usual_dtype(features: frozenset[str]) -> str:
    """What `models.pick_dtype` answers on a CPU with these features."""
    return "bfloat16" if features & {"avx512_bf16", "amx_tile"} else "float32"


def has_nvidia(proc: Path = _PROC) -> bool:
    """Whether a driver for NVIDIA's GPUs is loaded."""
    return (proc / "driver" / "nvidia" / "version").exists()


# --- control groups ---------------------------------------------------------------------------


def _limits(proc: Path, cgroup: Path) -> Iterator[tuple[int, int]]:
    """Limit and use, in bytes, of each group that this process is in.

    What files in memory take is given back when it is needed, so it is not counted as used.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds == "":
            names = ("memory.max", "memory.current", "inactive_file")
            yield from _group(cgroup, place, *names)
        elif "memory" in kinds.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _group(cgroup / "memory", place, *names)


def _group(root: Path, place: str, limit: str, used: str, cached: str) -> Iterator[tuple[int, int]]:
    """Of a group and all that it is in.  In a container, its own group is the root."""
    folder = root / place.lstrip("/")
    for one in (folder, *folder.parents):
        if not one.is_relative_to(root):
            return
        most, now = _number(one / limit), _number(one / used)
        if most is not None and now is not None:
            yield most, max(0, now - _fields(one / "memory.stat").get(cached, 0))


def _number(path: Path) -> int | None:
    """A number in a file; None for "max", and where there is no such file."""
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _fields(path: Path) -> dict[str, int]:
    """Lines of a name and a number, such as "MemFree:  123 kB"."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    words = (line.replace(":", " ").split() for line in lines)
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}
