"""How fast this device multiplies matrices: measured once, and kept in the cache folder.

Only `measure` needs torch.  What was measured holds for one version of torch on one processor with
as many cores.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ftjobs.backends.local.fit import machine
from ftjobs.disk import write_text
from ftjobs.errors import FtjobsError

_ROWS, _SIDE, _ROUNDS = 512, 2048, 8
"""Of the product that is timed: a micro-batch of tokens by a layer of middling size."""
_PROBE_SECONDS = 0.1
"""For each dtype; the fastest product counts, since others share the machine."""


@dataclass(frozen=True)
class Probe:
    """A device as torch sees it.

    `device` is "cpu" or "cuda", `dtype` what a job takes by default.  `flops` are operations a
    second of a matrix product, by dtype.  `memory` is that of a GPU, in bytes; 0 for a CPU.
    """

    name: str
    device: str
    dtype: str
    flops: dict[str, float]
    memory: int = 0


def probed(cache: Path, *, now: bool = False) -> Probe | None:
    """What was measured on this device; None if nothing was.

    It is measured if this process has loaded torch already, which then takes 0.2 s.  If `now`, it
    is measured in any case, and the best of this and earlier times is kept: the device may have
    been busy.

    Raises:
        ImportError: `now`, and torch is not installed.
    """
    path = cache / "device.json"
    known = _read(path)
    if not now and (known is not None or "torch" not in sys.modules):
        return known
    found = measure()
    if known is not None:
        best = {name: max(rate, known.flops.get(name, 0.0)) for name, rate in found.flops.items()}
        found = replace(found, flops=best)
    with suppress(FtjobsError, OSError):  # a cache that cannot be written is measured again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps({"key": _key(), "probe": asdict(found)}))
    return found


def _read(path: Path) -> Probe | None:
    """What the file says, if it is about this device."""
    try:
        found: Any = json.loads(path.read_text("utf-8"))
        if found["key"] != _key():
            return None
        probe = Probe(**found["probe"])
        return probe if all(rate > 0 for rate in probe.flops.values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _key() -> list[str]:
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    gpu = "nvidia" if machine.has_nvidia() else ""
    return [version, machine.processor()[0], str(machine.cores()), gpu]


# --- with torch -------------------------------------------------------------------------------


def measure() -> Probe:
    """Look at the device, and time matrix products on it."""
    import torch

    from ftjobs.backends.local.models import pick_device, pick_dtype

    device = pick_device()
    dtype = pick_dtype(device)
    flops = {name: _rate(name, device) for name in dict.fromkeys([dtype, "float32"])}
    if device == "cpu":
        return Probe("", device, dtype, flops)
    properties: Any = torch.cuda.get_device_properties(0)
    return Probe(str(properties.name), device, dtype, flops, int(properties.total_memory))


def _rate(dtype: str, device: str) -> float:
    """Operations a second of the fastest of some products."""
    import torch

    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "device": device}
    a, b = torch.ones(_ROWS, _SIDE, **options), torch.ones(_SIDE, _SIDE, **options)
    best, until = float("inf"), time.perf_counter() + _PROBE_SECONDS
    for done in range(1000):
        if done > 2 and time.perf_counter() > until:
            break
        began = time.perf_counter()
        for _ in range(_ROUNDS if device == "cuda" else 1):  # a GPU is waited for only at the end
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        rounds = _ROUNDS if device == "cuda" else 1
        best = min(best, (time.perf_counter() - began) / rounds)
    return 2.0 * _ROWS * _SIDE * _SIDE / best
