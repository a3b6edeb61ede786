"""One file → a training, a validation and a test file.

    done = split("all.jsonl", valid=0.1, test=200, seed=1, near=0.8)
    print(done.sides["valid"].rows)

Rows with the same prompt form a group, and a group stays on one side: otherwise the validation
would measure what was learned by heart.  Sides are filled in the order of seeded hashes of the
prompts, so the same rows and seed give the same sides with every version of Python.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain, groupby, repeat
from pathlib import Path

from xxhash import xxh3_64_intdigest

from ftjobs.data.checker import Manifest, check
from ftjobs.data.convert.output import new_file
from ftjobs.data.reading import STDIN, DamagedError, lines_of, opened
from ftjobs.data.sniff import BOM
from ftjobs.data.texts import answer_of, parse, prompt_of
from ftjobs.errors import ConfigError, DatasetError

MAX_LABELS = 50
"""Different answers up to which they are taken for labels, and balanced."""

LABEL_LENGTH = 64
"""Characters of the longest answer that is taken for a label."""

_BITS = 6  # of a row's key that hold its label: MAX_LABELS of them fit
_LOW = 2**_BITS - 1
_TRAIN = 0
_OF_NO_CONCERN = ("FT502", "FT505", "FT506", "FT507", "FT6", "FT7", "FT8", "FT9")


@dataclass(frozen=True, slots=True)
class Side:
    """One part of a split, "train", "valid" or "test".

    `wanted` is how many rows it was to have, `rows` how many it has.  `labels` counts the rows
    of each answer if the answers are labels; otherwise it is empty.
    """

    name: str
    path: Path
    wanted: int
    rows: int
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Split:
    """What `split` did.

    `groups` is the number of groups of rows that had to stay together, `largest` the number of
    rows of the largest one.
    """

    path: Path
    sides: tuple[Side, ...]
    groups: int
    largest: int

    @property
    def exact(self) -> bool:
        """Whether every side has the number of rows it was to have."""
        return all(side.rows == side.wanted for side in self.sides)


def split(
    path: str | os.PathLike[str],
    *,
    valid: float = 0.1,
    test: float = 0,
    seed: int = 0,
    near: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    force: bool = False,
    target: str = "local",
) -> Split:
    """Write FILE.train.jsonl, and FILE.valid.jsonl and FILE.test.jsonl if they are to have rows.

    Every line goes to one side, byte for byte, in the order of the file; blank lines are left
    out.  Rows with the same prompt (`texts.prompt_of`) stay together, so a side can miss its
    size, by less than half of the smallest group left.  If the answers are at most `MAX_LABELS`
    short labels, each side has its share of every label, as near as that goes.

    Memory: some 100 bytes a row, and with `near` that of `near_duplicates`.

    Args:
        path: JSON Lines of any method, plain or compressed.
        valid: the share of the rows (below 1), or their number.
        test: the same for the test file.
        seed: another one gives other sides.
        near: rows that are at least so similar (`near_duplicates`) stay together too.
        folder: where to write; None: beside the file.
        force: write over files that exist.
        target: whose rules the rows have to keep (a name in `TARGETS`); how many rows it takes,
            and of which method, does not matter.

    Raises:
        ConfigError: a size or the path cannot be used, there is no such target, a file exists
            already, or the groups are too large for the sizes.
        DatasetError: the file has errors, or changed meanwhile.
    """
    path = Path(path)
    if path == STDIN:
        raise ConfigError(
            "standard input cannot be split: it is read twice", hint="Write it to a file first."
        )
    asked = {"valid": valid, "test": test}
    shares = {name: _share(name, size) for name, size in asked.items() if size != 0}
    if not shares:
        raise ConfigError("nothing to split off", hint="Give valid or test a size.")
    manifest = _checked(path, target)
    wanted = _sizes(path, shares, manifest.rows)
    keys = _Keys.read(path, manifest.sha256, seed)
    if near is not None:
        keys.merge(_near(path, near))
    groups = _Groups.of(keys)
    groups.fill([*wanted.values()], seed)
    _require_rows(path, groups, [*wanted])
    outputs = _outputs(path, folder, wanted)
    counts = _write(path, manifest.sha256, outputs, keys, groups, force=force)
    sides = tuple(
        Side(name, output, size, count.total(), _named(count, keys.labels))
        for (name, size), output, count in zip(wanted.items(), outputs, counts, strict=True)
    )
    return Split(path, sides, len(groups.sizes), max(groups.sizes))


def _checked(path: Path, target: str) -> Manifest:
    """What the file is, if its rows have no error."""
    report = check(path, target=target, ignore=_OF_NO_CONCERN, max_issues=100)
    if not report.ok:
        more = f" (of {report.error_count:,} errors)" if report.error_count > 1 else ""
        raise DatasetError(
            f"{report.errors[0]}{more}",
            issues=report.issues,
            hint="Only a file without errors is split.  ftjobs data check FILE shows them all.",
        )
    return report.manifest


def _named(counts: Mapping[int, int], labels: Sequence[str]) -> dict[str, int]:
    return {label: counts.get(place, 0) for place, label in enumerate(labels)}


# --- sizes -------------------------------------------------------------------------------------


def _share(name: str, size: float) -> float:
    """A size that can be used: a number of rows as an int, a share of them as a float."""
    if (type(size) is int and size > 0) or (type(size) is float and 0 < size < 1):
        return size
    raise ConfigError(
        f"{name} cannot have a size of {size!r}",
        hint="Give a share of the rows, such as 0.1, or their number, such as 200.",
    )


def _sizes(path: Path, shares: Mapping[str, float], rows: int) -> dict[str, int]:
    """The number of rows of every side, the training side first."""
    sizes = {
        name: share if isinstance(share, int) else max(1, round(share * rows))
        for name, share in shares.items()
    }
    rest = rows - sum(sizes.values())
    if rest < 1:
        asked = " and ".join(f"{size:,} for {name}" for name, size in sizes.items())
        raise ConfigError(
            f"{path}: {rows:,} rows less {asked} leave none to train on",
            hint="Ask for fewer.",
        )
    return {"train": rest, **sizes}


def _apportioned(total: int, counts: Sequence[int], seed: int) -> list[int]:
    """`total` shared out in proportion to the counts; the largest remainders are rounded up."""
    whole = sum(counts)
    shares = [divmod(total * count, whole) for count in counts]
    order = sorted(
        range(len(counts)),
        key=lambda place: (-shares[place][1], xxh3_64_intdigest(bytes([place]), seed)),
    )
    missing = total - sum(share for share, _ in shares)
    more = set(order[:missing])
    return [share + (place in more) for place, (share, _) in enumerate(shares)]


# --- groups ------------------------------------------------------------------------------------


class _Labels:
    """The answers, as long as they are short and few."""

    def __init__(self) -> None:
        self._places: dict[str, int] | None = {}

    def place(self, answer: str) -> int:
        """The number of an answer; 0 if answers are no labels."""
        if self._places is None:
            return 0
        place = self._places.setdefault(answer, len(self._places))
        if place < MAX_LABELS and len(answer) <= LABEL_LENGTH:
            return place
        self._places = None
        return 0

    def names(self, rows: int) -> list[str]:
        """The labels by their numbers; none if nearly every row has its own."""
        names = list(self._places or ())
        return names if 1 < len(names) <= rows // 2 else []


@dataclass
class _Keys:
    """For each line a hash of its prompt, and in the low bits its label; 0 for a blank line.

    `labels` are the names of the labels, empty if the answers are none.
    """

    values: array[int]
    labels: Sequence[str]

    @classmethod
    def read(cls, path: Path, sha256: str, seed: int) -> _Keys:
        values, labels = array("Q"), _Labels()
        for line in _lines(path, sha256):
            values.append(0 if line.isspace() else _key(line, seed, labels))
        return cls(values, labels.names(len(values)))

    def merge(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Give the prompts of each pair of lines (counted from 1) the same hash."""
        from ftjobs.data.near import Clusters

        clusters = Clusters()
        for one, other in pairs:
            clusters.join(self.values[one - 1] >> _BITS, self.values[other - 1] >> _BITS)
        for place, value in enumerate(self.values):
            self.values[place] = clusters.of(value >> _BITS) << _BITS | value & _LOW

    def label(self, value: int) -> int:
        """The number of the label in a line's key."""
        return value & _LOW if self.labels else 0


def _key(line: bytes, seed: int, labels: _Labels) -> int:
    row = parse(line)
    prompt = line if row is None else prompt_of(row).encode()
    label = 0 if row is None else labels.place(answer_of(row))
    return max(1, xxh3_64_intdigest(prompt, seed % 2**64) >> _BITS) << _BITS | label


def _near(path: Path, threshold: float) -> Iterator[tuple[int, int]]:
    from ftjobs.data.near import near_duplicates

    for pair in near_duplicates([path], threshold=threshold):
        yield pair.first.line, pair.second.line


@dataclass
class _Groups:
    """The groups in the order of their hashes: hash, rows, commonest label, and side."""

    hashes: array[int]
    sizes: array[int]
    labels: bytearray
    sides: bytearray

    @classmethod
    def of(cls, keys: _Keys) -> _Groups:
        hashes, sizes, labels = array("Q"), array("Q"), bytearray()
        ordered = sorted(value for value in keys.values if value)
        for hashed, members in groupby(ordered, key=lambda value: value >> _BITS):
            counts = Counter(map(keys.label, members))
            hashes.append(hashed)
            sizes.append(counts.total())
            labels.append(counts.most_common(1)[0][0])
        return cls(hashes, sizes, labels, bytearray(len(hashes)))

    def side(self, value: int) -> int:
        """The side of a line, by its key."""
        return self.sides[bisect_left(self.hashes, value >> _BITS)]

    def rows(self, side: int) -> int:
        """How many rows a side has."""
        return sum(size for size, its in zip(self.sizes, self.sides, strict=True) if its == side)

    def fill(self, wanted: Sequence[int], seed: int) -> None:
        """Move groups from side 0 to the others until these have the rows wanted."""
        sides = range(1, len(wanted))
        strata: Counter[int] = Counter()
        for label, size in zip(self.labels, self.sizes, strict=True):
            strata[label] += size
        rooms = [
            dict(zip(strata, _apportioned(wanted[side], [*strata.values()], seed), strict=True))
            for side in sides
        ]
        self._fit(rooms, self.labels)
        rest = [{0: wanted[side] - self.rows(side)} for side in sides]
        self._fit(rest, bytes(len(self.labels)))
        for side in sides:
            self._overfill(side, wanted[side] - self.rows(side))

    def _fit(self, rooms: Sequence[dict[int, int]], strata: bytes | bytearray) -> None:
        """Move each group to the first side with room for it; `rooms` are by side and stratum."""
        for place, (stratum, size) in enumerate(zip(strata, self.sizes, strict=True)):
            for side, room in enumerate(rooms, start=1):
                if self.sides[place] == _TRAIN and size <= room[stratum]:
                    room[stratum] -= size
                    self.sides[place] = side

    def _overfill(self, side: int, missing: int) -> None:
        """Add the smallest group, which is too large, if that misses the size by less."""
        left = [place for place, its in enumerate(self.sides) if its == _TRAIN]
        place = min(left, key=self.sizes.__getitem__)
        if missing and self.sizes[place] < 2 * missing and len(left) > 1:
            self.sides[place] = side


def _require_rows(path: Path, groups: _Groups, names: Sequence[str]) -> None:
    for side, name in enumerate(names):
        if not groups.rows(side):
            largest, rows = max(groups.sizes), sum(groups.sizes)
            raise ConfigError(
                f"{path}: nothing is left for {name}: {largest:,} of {rows:,} rows belong together",
                hint="Rows with one prompt stay on one side.  Ask for more rows, or vary prompts.",
            )


# --- reading and writing -----------------------------------------------------------------------


def _lines(path: Path, sha256: str) -> Iterator[bytes]:
    """The lines of a file that has this checksum; DatasetError at the end if it has another."""
    digest = hashlib.sha256()
    with opened(path) as file, suppress(DamagedError):
        for number, line in enumerate(lines_of(file, feed=digest.update)):
            yield (line or b"").removeprefix(BOM) if number == 0 else line or b""
    if digest.hexdigest() != sha256:
        raise DatasetError(
            f"{path}: the file changed while it was split",
            hint="Split it again when nothing writes to it; nothing was written.",
        )


def _outputs(path: Path, folder: str | os.PathLike[str] | None, names: Iterable[str]) -> list[Path]:
    """FILE.NAME.jsonl for every name, in a folder that exists now."""
    where = path.parent if folder is None else Path(folder)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}") from None
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    return [where / f"{plain.stem}.{name}.jsonl" for name in names]


def _write(
    path: Path,
    sha256: str,
    outputs: Sequence[Path],
    keys: _Keys,
    groups: _Groups,
    *,
    force: bool,
) -> list[Counter[int]]:
    """Write every line to its side; the rows of each side by label."""
    counts: list[Counter[int]] = [Counter() for _ in outputs]
    values = chain(keys.values, repeat(0))
    with ExitStack() as files:
        sinks = [files.enter_context(new_file(output, force=force)) for output in outputs]
        for line, value in zip(_lines(path, sha256), values, strict=False):
            if value:
                side = groups.side(value)
                counts[side][keys.label(value)] += 1
                sinks[side].write(line.removesuffix(b"\n"))
        for sink in sinks:  # all of them before the first has its name: no half of a split
            sink.settle()
    return counts
