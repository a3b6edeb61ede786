"""Several processes share the lines of one large file."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from itertools import pairwise
from pathlib import Path

from ftjobs.data.part import Part, Rules
from ftjobs.data.reading import blocks_of, opened

LEAST_BYTES = 2**25
"""A smaller file is read before other processes have started."""


def read_shared(
    path: Path, size: int, rules: Rules, processes: int, meanwhile: Callable[[], object]
) -> Part | None:
    """What `processes` processes found in a regular, plain file of `size` bytes.

    `meanwhile` runs in this process while they read.  None if the file has rows of different
    methods in different parts: only one after the other can they be told which is the file's.
    """
    context = multiprocessing.get_context("fork" if _can_fork() else "spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        cuts = pairwise(_cuts(path, size, processes))
        waiting = [pool.submit(_read, path, start, end, rules) for start, end in cuts]
        meanwhile()
        parts = [future.result() for future in waiting]
    if len({part.method for part in parts if part.rows}) > 1:
        return None
    return reduce(_joined, parts)


def _can_fork() -> bool:
    """Whether forking is safe: it is the faster start, but copies no other thread."""
    return sys.platform == "linux" and threading.active_count() == 1


def _cuts(path: Path, size: int, processes: int) -> Iterator[int]:
    """Offsets of line starts that cut the file into about equal parts; 0 and `size` included."""
    yield 0
    with opened(path) as file:
        for number in range(1, processes):
            file.seek(size * number // processes)
            file.readline()
            yield min(file.tell(), size)
    yield size


def _read(path: Path, start: int, end: int, rules: Rules) -> Part:
    part = Part(rules, first=start == 0)
    with opened(path) as file:
        file.seek(start)
        for block in blocks_of(file, size=end - start):
            part.block(block)
    return part


def _joined(part: Part, later: Part) -> Part:
    part.join(later)
    return part
