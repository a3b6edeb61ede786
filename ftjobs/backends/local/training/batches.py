"""Which examples form which step: pure functions of (seed, epoch, index).

No state is kept, so a run that is resumed at any step sees exactly the examples that it would
have seen unbroken, on any machine and any version of any random generator.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence


@functools.lru_cache(maxsize=2)  # asked for once per step, and costs a hash per example
def order(count: int, *, seed: int, epoch: int) -> tuple[int, ...]:
    """A permutation of range(count): sorted by a hash of (seed, epoch, index)."""
    return tuple(sorted(range(count), key=lambda index: _rank(seed, epoch, index)))


def split(count: int, *, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices for training and for validation, each ascending, at least one of each.

    `fraction` is the share held out.  ValueError if there are fewer than two examples.
    """
    if count < 2:
        raise ValueError("a validation split needs at least two examples")
    held = min(max(round(count * fraction), 1), count - 1)
    chosen = set(order(count, seed=seed, epoch=-1)[:held])
    return [i for i in range(count) if i not in chosen], sorted(chosen)


def steps_per_epoch(count: int, batch_size: int, *, drop_last: bool = False) -> int:
    """Optimiser steps in one epoch; the last one may be smaller, or is left out for that."""
    return count // batch_size if drop_last else -(-count // batch_size)


def step(
    count: int, *, batch_size: int, seed: int, number: int, drop_last: bool = False
) -> tuple[int, tuple[int, ...]]:
    """The epoch (from 1) and the examples of optimiser step `number` (from 1)."""
    per_epoch = steps_per_epoch(count, batch_size, drop_last=drop_last)
    epoch, position = divmod(number - 1, per_epoch)
    chosen = order(count, seed=seed, epoch=epoch + 1)
    return epoch + 1, chosen[position * batch_size : (position + 1) * batch_size]


def micro_batches(lengths: Sequence[int], *, budget: int, pads: bool = True) -> list[list[int]]:
    """Groups of positions in `lengths` to run together, longest first.

    A group's size (with `pads`, members × longest) stays within `budget` tokens, but for a single
    example that is longer.  Similar lengths come together, so that little is padded, and the
    largest group comes first, so that memory runs out at the start or not at all.
    """
    groups: list[list[int]] = []
    size = 0
    for position in sorted(range(len(lengths)), key=lambda p: (-lengths[p], p)):
        last = groups[-1] if groups else []
        size += lengths[last[0]] if last and pads else lengths[position]
        if last and size <= budget:
            last.append(position)
        else:
            groups.append([position])
            size = lengths[position]
    return groups


def _rank(seed: int, epoch: int, index: int) -> bytes:
    return hashlib.sha256(f"{seed}:{epoch}:{index}".encode()).digest()
