"""Some rows of a file, drawn at random in one pass."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xxhash import xxh3_64_intdigest

from ftjobs.data.reading import DamagedError, lines_of, opened
from ftjobs.data.sniff import BOM
from ftjobs.errors import ConfigError, DatasetError


@dataclass(frozen=True, slots=True)
class Sample:
    """Lines of a file in its order, without their line feeds, and how many rows the file has."""

    lines: tuple[bytes, ...]
    rows: int


def sample(path: str | os.PathLike[str], count: int, *, seed: int = 0) -> Sample:
    """Draw `count` rows without replacement, every row with the same probability.

    All of them if there are no more.  Blank lines do not count.  The rows need not be valid:
    drawing some is a way to look at them.  Drawn are the rows whose numbers have the least seeded
    hashes, so a larger sample of the same seed contains the smaller one.

    Memory: the lines that are drawn.  "-" is standard input.

    Raises:
        ConfigError: the count is not positive, or the file cannot be read.
        DatasetError: there are no rows, one is longer than `MAX_LINE_BYTES`, or the compressed
            data is damaged.
    """
    if count < 1:
        raise ConfigError(f"cannot draw {count} rows", hint="Ask for 1 or more.")
    kept: list[tuple[int, int, bytes]] = []  # the drawn ones, the next to go first
    rows = 0
    for number, line in _rows(Path(path)):
        rows += 1
        rank = xxh3_64_intdigest(number.to_bytes(8, "little"), seed % 2**64)
        if len(kept) < count:
            heapq.heappush(kept, (-rank, number, line))
        elif -rank > kept[0][0]:
            heapq.heapreplace(kept, (-rank, number, line))
    if not rows:
        raise DatasetError(f"{path}: holds no rows", hint="Check the path.")
    in_order = sorted(kept, key=lambda one: one[1])
    return Sample(tuple(line for _, _, line in in_order), rows)


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    with opened(path) as file:
        try:
            for number, line in enumerate(lines_of(file), start=1):
                if line is None:
                    raise DatasetError(f"{path}:{number}: the line is too long to be kept")
                line = line.removeprefix(BOM) if number == 1 else line
                if not line.isspace():
                    yield number, line.removesuffix(b"\n")
        except DamagedError as error:
            raise DatasetError(f"{path}: {error}", hint="Make the file again.") from None
