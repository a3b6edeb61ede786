"""Several processes share the lines of one large file."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import reduce
from itertools import pairwise
from multiprocessing.context import BaseContext
from pathlib import Path

from ftjobs.data.part import Part, Rules
from ftjobs.data.reading import Stamp, blocks_of, opened, stamp
from ftjobs.errors import ConfigError

LEAST_BYTES = 2**25
"""A smaller file is read before other processes have started."""


class _OtherFileError(Exception):
    """The path leads to another file by now, or the file has changed."""


def read_shared(
    path: Path, before: Stamp, rules: Rules, processes: int, meanwhile: Callable[[], object]
) -> Part | None:
    """What up to `processes` processes found in a regular, plain file with the stamp `before`.

    `meanwhile` runs in this process while they read.  None if only one process can tell: the file
    has rows of different methods in different parts, so that the first row has to be known; or
    another process was killed, or found another file under this path.
    """
    context = multiprocessing.get_context("fork" if _can_fork() else "spawn")
    processes = max(1, min(processes, before.size // (LEAST_BYTES // 8 or 1)))
    try:
        with _pool(processes, context) as pool:
            cuts = pairwise(_cuts(path, before.size, processes))
            waiting = [pool.submit(_read, path, start, end, before, rules) for start, end in cuts]
            meanwhile()
            parts = [future.result() for future in waiting]
    except (BrokenProcessPool, ConfigError, _OtherFileError):
        return None
    if len({part.method for part in parts if part.rows}) > 1:
        return None
    return reduce(_joined, parts)


@contextmanager
def _pool(processes: int, context: BaseContext) -> Iterator[ProcessPoolExecutor]:
    """Processes that do not outlive an exception, such as Ctrl-C."""
    others = {*multiprocessing.active_children()}
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            yield pool
        except BaseException:
            for process in {*multiprocessing.active_children()} - others:
                process.terminate()
            raise


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


def _read(path: Path, start: int, end: int, before: Stamp, rules: Rules) -> Part:
    part = Part(rules, first=start == 0)
    with opened(path) as file:
        if stamp(file) != before:
            raise _OtherFileError
        file.seek(start)
        for block in blocks_of(file, size=end - start):
            part.block(block)
    return part


def _joined(part: Part, later: Part) -> Part:
    part.join(later)
    return part
