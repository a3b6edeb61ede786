"""What this device has for jobs, in lines for `ftjobs doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from ftjobs.backends.base import FULL
from ftjobs.backends.local.fit import machine, memory
from ftjobs.backends.local.fit.forecast import room
from ftjobs.backends.local.fit.machine import Room
from ftjobs.backends.local.fit.memory import Load
from ftjobs.backends.local.fit.probe import Probe, probed
from ftjobs.backends.local.fit.shape import Linear, Shape
from ftjobs.backends.local.store import Store
from ftjobs.backends.local.training.recipe import Facts, Machine, Recipe, resolve
from ftjobs.config import Settings
from ftjobs.schema import Hyperparameters

_AT_ONCE = 1024
"""Tokens of the jobs that are told of: a usual micro-batch."""
_KNOWN = {
    "0.1 B": (576, 30, 9, 3, 64, 1536, 49_152),
    "0.6 B": (1024, 28, 16, 8, 128, 3072, 151_936),
    "1.7 B": (2048, 24, 32, 32, 64, 8192, 49_152),
    "3 B": (3072, 28, 24, 8, 128, 8192, 128_256),
    "8 B": (4096, 32, 32, 8, 128, 14_336, 128_256),
    "14 B": (5120, 40, 40, 8, 128, 17_408, 151_936),
    "32 B": (5120, 64, 64, 8, 128, 25_600, 151_936),
    "70 B": (8192, 80, 64, 8, 128, 28_672, 128_256),
}
"""Sizes of well-known decoders, as their configurations give them: SmolLM2, Qwen 3 and Llama 3.
Hidden size, layers, heads, key-value heads, size of a head, intermediate size, vocabulary."""


def survey(settings: Settings, store: Store) -> Iterator[tuple[str, str]]:
    """Names and texts of what was found.  Imports torch, to measure what was not measured yet.

    Raises:
        ImportError: torch is not installed.
        StoreError: the store cannot be read.
    """
    probe = probed(settings.cache, now=True)
    if probe is None:
        return
    rates = (f"{dtype} {rate / 1e9:,.0f} GFLOP/s" for dtype, rate in probe.flops.items())
    yield "matrix products", ", ".join(rates)
    here = Room(probe.memory, probe.memory) if probe.device == "cuda" else room(store)
    if here is None:
        return
    yield "memory", f"{here.free / 1e9:,.1f} of {here.total / 1e9:,.1f} GB free"
    yield "room for", _largest(probe, here.free)


def _largest(probe: Probe, free: int) -> str:
    """The largest of the known sizes that fits."""
    found = [name for name, sizes in _KNOWN.items() if _bytes(sizes, probe) <= FULL * free]
    if not found:
        return "no base model: free some memory"
    return f"base models of up to about {found[-1]} parameters, in {probe.dtype}"


def _bytes(sizes: tuple[int, ...], probe: Probe) -> int:
    shape = known_shape(*sizes)
    load = Load(_AT_ONCE, _AT_ONCE // 2, _AT_ONCE // 2)
    return memory.needed(shape, _recipe(shape, probe), load).total


def _recipe(shape: Shape, probe: Probe) -> Recipe:
    here = Machine(probe.dtype, probe.device, machine.cores())
    facts = Facts(1000, 100_000, shape.hidden, shape.kind, 1_000_000)
    return resolve(Hyperparameters(lora_r=16), facts, here, seed=0)


def known_shape(
    hidden: int, layers: int, heads: int, kv_heads: int, size: int, inner: int, vocabulary: int
) -> Shape:
    """A Llama-like decoder of these sizes, its head tied below a hidden size of 4,096."""
    across, narrow = heads * size, kv_heads * size
    sides = [(hidden, across), (hidden, narrow), (hidden, narrow), (across, hidden)]
    sides += [(hidden, inner), (hidden, inner), (inner, hidden)]
    linear = tuple(Linear(f"{n}", a, b) for n in range(layers) for a, b in sides)
    embeddings = vocabulary * hidden * (1 if hidden < 4096 else 2)
    return Shape(
        kind="llama",
        family="decoder",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=size,
        intermediate=inner,
        vocabulary=vocabulary,
        parameters=sum(layer.inputs * layer.outputs for layer in linear) + embeddings,
        linear=linear,
        config={},
    )
