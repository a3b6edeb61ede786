"""Rows that are nearly the same, in one file or between files, without comparing all with all.

    for pair in near_duplicates(["train.jsonl", "valid.jsonl"], threshold=0.8):
        print(pair.first, pair.second, pair.similarity)

Compared are the words of user and assistant (`texts.said_in`); `minhash` says how.

Importing this module raises ConfigError where numpy is not installed.
"""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import xxhash

from ftjobs.errors import ConfigError, DatasetError

try:
    import numpy as np
except ModuleNotFoundError:
    raise ConfigError(
        "numpy is not installed, and near duplicates are searched with it",
        hint="pip install 'ftjobs[data]'",
    ) from None

from ftjobs.data import minhash
from ftjobs.data.minhash import Numbers, Signatures, Text
from ftjobs.data.reading import STDIN, DamagedError, lines_of, opened
from ftjobs.data.rules import RULES
from ftjobs.data.sniff import BOM
from ftjobs.data.texts import Row, images_in, parse, said_in
from ftjobs.schema import Issue

LOWEST = 0.5
"""The lowest threshold: below it, rows that merely speak of the same thing are found."""

LONGEST = 2**18
"""Characters of a row that are compared: some 65,536 tokens, the most that services train on."""

PATIENCE = 8
"""Comparisons of a row that may fail before its other candidates, all less likely, are dropped."""

_BATCH = 2**15  # characters whose signatures are made at once: they fit in the processor's cache
_CHUNK = 2**16  # pairs that are Python's at once

_anything = msgspec.json.Decoder()
_sorted = msgspec.json.Encoder(order="deterministic")


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    path: Path
    line: int


class Pair(NamedTuple):
    """Two rows, the earlier first, and their similarity (Jaccard, exact)."""

    first: Place
    second: Place
    similarity: float


class Clusters:
    """Sets of numbers that are joined pair by pair (union-find); each begins alone."""

    def __init__(self) -> None:
        self._above: dict[int, int] = {}

    def of(self, item: int) -> int:
        """The least member of the item's set."""
        root = item
        while (above := self._above.get(root, root)) != root:
            root = above
        while item != root:  # so that the next search is short
            item, self._above[item] = self._above[item], root
        return root

    def join(self, one: int, other: int) -> None:
        """Make one set of the sets of two items."""
        low, high = sorted((self.of(one), self.of(other)))
        self._above[high] = low


def near_duplicates(
    paths: Iterable[str | os.PathLike[str]], *, threshold: float = 0.8
) -> list[Pair]:
    """Pairs of rows whose similarity is at least the threshold, in the order of the second row.

    Every pair is verified.  Not every pair of a large cluster is listed, but pairs that connect
    it; and a row with earlier rows like it stands second to at least one of them in its own file
    and to one in another file, if there are such.  Of the pairs right at the threshold, 97 % are
    looked at in expectation, and more of those above it.  Rows that cannot be read or hold no
    text are passed over: `check` reports them.

    Files are read twice.  Memory: some 400 bytes a row, and the text of each row that is looked
    at.  The rows of the first file are the earliest.

    Raises:
        ConfigError: a file cannot be read twice, the threshold is not from 0.5 to 1, or numpy is
            not installed.
        DatasetError: a file has changed between the two times.
    """
    if not LOWEST <= threshold <= 1:
        raise ConfigError(
            f"cannot search for rows of a similarity of {threshold:g}",
            hint=f"Give a number from {LOWEST} to 1; 0.8 finds rows with a few words changed.",
        )
    rows = _Rows.read([_twice_readable(Path(path)) for path in paths])
    leaders = _leaders(rows)
    distinct = np.unique(leaders)
    pairs = distinct[minhash.candidates(rows.signatures[distinct], threshold)]
    found = list(_verified(rows, pairs, threshold))
    found += _copies(rows, leaders, found)
    found.sort(key=lambda match: (match.second, match.first))
    return [Pair(rows.place(a), rows.place(b), similarity) for a, b, similarity in found]


def issues(pairs: Iterable[Pair]) -> list[Issue]:
    """FT803 and FT813 for the second row of each pair, in the order of the pairs.

    A row gets each code once, for the earlier row that is most like it, and none for a row that
    is the same however its JSON is spelt: that is FT801 or FT811.  The files are read once more.

    Raises:
        ConfigError: a file cannot be read.
        DatasetError: a file has changed since the search.
    """
    best: dict[tuple[str, Place], Pair] = {}
    for pair in pairs:
        code = "FT803" if pair.first.path == pair.second.path else "FT813"
        known = best.setdefault((code, pair.second), pair)
        if pair.similarity > known.similarity:
            best[code, pair.second] = pair
    lines = _lines_at({place for pair in best.values() for place in (pair.first, pair.second)})
    return [
        _issue(code, pair, lines[pair.second].fingerprints[code])
        for (code, _), pair in best.items()
        if lines[pair.first].row != lines[pair.second].row
    ]


class _Line(NamedTuple):
    """A hash of the row, however its JSON is spelt, and the fingerprint of each code."""

    row: int
    fingerprints: Mapping[str, str]

    @classmethod
    def of(cls, line: bytes) -> _Line:
        try:
            row = _sorted.encode(_anything.decode(line))
        except (ValueError, RecursionError):  # a part that is not compared, such as 1e999
            row = line
        prints = {
            code: xxhash.xxh3_64_hexdigest(f"{code}\0\0".encode() + line)
            for code in ("FT803", "FT813")
        }
        return cls(xxhash.xxh3_64_intdigest(row), prints)


def _lines_at(places: Collection[Place]) -> Mapping[Place, _Line]:
    wanted: dict[Path, set[int]] = defaultdict(set)
    for path, line in places:
        wanted[path].add(line)
    found = {
        Place(path, number): _Line.of(line)
        for path, numbers in wanted.items()
        for number, line in _lines(path)
        if number in numbers and parse(line) is not None
    }
    _complete(found, places)
    return found


def _issue(code: str, pair: Pair, fingerprint: str) -> Issue:
    rule = RULES[code]
    first = pair.first
    where = f"line {first.line}" if code == "FT803" else f"{first.path}:{first.line}"
    hundredths = math.floor(100 * pair.similarity)
    says = "says the same as" if hundredths == 100 else "is nearly the same as"
    return Issue(
        code=code,
        severity=rule.severity,
        message=f"the row {says} {where} (similarity {hundredths / 100:.2f})",
        path=str(pair.second.path),
        line=pair.second.line,
        hint=rule.fix,
        fingerprint=fingerprint,
        fixable=rule.fixable,
    )


# --- reading -----------------------------------------------------------------------------------


def _twice_readable(path: Path) -> Path:
    if path == STDIN:
        raise ConfigError(
            "near duplicates cannot be searched in standard input: it is read twice",
            hint="Write it to a file first.",
        )
    return path


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that can be read, with their numbers, without their line feeds."""
    with opened(path) as file, suppress(DamagedError):
        for number, line in enumerate(lines_of(file), start=1):
            if line is not None:
                yield number, line.removeprefix(BOM).removesuffix(b"\n")


def _complete(found: Collection[object], wanted: Collection[object]) -> None:
    if len(found) < len(wanted):
        raise DatasetError(
            "a file changed while near duplicates were searched in it",
            hint="Search again when nothing writes to it.",
        )


def _texts(files: Sequence[Path]) -> Iterator[tuple[int, int, Text]]:
    """File (its index), line and text of every row that has text."""
    for index, path in enumerate(files):
        for number, line in _lines(path):
            row = parse(line)
            if row is not None and (text := _text(row)).words:
                yield index, number, text


def _text(row: Row) -> Text:
    images = "\0".join(images_in(row)).encode()
    return Text(said_in(row)[:LONGEST], xxhash.xxh3_64_intdigest(images) if images else 0)


@dataclass(frozen=True)
class _Rows:
    """Every row with text: its file (an index), its line, a hash of its text, its signature."""

    files: Sequence[Path]
    file: Numbers
    line: Numbers
    digest: minhash.Hashes
    signatures: Signatures

    @classmethod
    def read(cls, files: Sequence[Path]) -> _Rows:
        file, line, digest = array("q"), array("q"), array("Q")
        blocks, batch, room = [np.empty((0, minhash.SIGNATURE), np.uint16)], [], _BATCH
        for index, number, text in _texts(files):
            file.append(index)
            line.append(number)
            digest.append(
                xxhash.xxh3_64_intdigest(
                    text.words.encode("utf-8", "surrogatepass"), seed=text.salt
                )
            )
            batch.append(text)
            room -= len(text.words)
            if room <= 0:
                blocks.append(minhash.signatures(batch))
                batch, room = [], _BATCH
        if batch:
            blocks.append(minhash.signatures(batch))
        columns = np.array(file, np.int64), np.array(line, np.int64), np.array(digest, np.uint64)
        return cls(files, *columns, np.concatenate(blocks))

    def place(self, row: int) -> Place:
        return Place(self.files[self.file[row]], int(self.line[row]))

    def texts(self, wanted: Numbers) -> Mapping[int, Text]:
        """The texts of some rows, read again."""
        at = {(int(self.file[row]), int(self.line[row])): int(row) for row in wanted}
        found = {
            at[index, number]: text
            for index, number, text in _texts(self.files)
            if (index, number) in at
        }
        _complete(found, at)
        return found


# --- comparing ---------------------------------------------------------------------------------


class _Match(NamedTuple):
    """Two rows, as indices, and their similarity."""

    first: int
    second: int
    similarity: float


def _leaders(rows: _Rows) -> Numbers:
    """For each row the first one in its file that says the same."""
    count = len(rows.line)
    order = np.lexsort((np.arange(count), rows.digest, rows.file))
    file, digest = rows.file[order], rows.digest[order]
    fresh = np.ones(count, bool)
    fresh[1:] = (file[1:] != file[:-1]) | (digest[1:] != digest[:-1])
    leaders = np.empty(count, np.int64)
    leaders[order] = order[fresh][np.cumsum(fresh) - 1]
    return leaders


def _verified(rows: _Rows, pairs: Numbers, threshold: float) -> Iterator[_Match]:
    """The pairs that are as similar as the threshold, but for those that would say nothing new.

    That is a pair in one cluster whose later row has a match already, in its own file or in
    another as this one is: a cluster of n rows costs about n comparisons, not n².
    """
    texts = rows.texts(np.unique(pairs))
    clusters, served, failures = Clusters(), set[tuple[int, bool]](), Counter[int]()
    for one, other in _as_integers(pairs):
        kind = other, bool(rows.file[one] == rows.file[other])
        if failures[other] >= PATIENCE:
            continue
        if kind in served and clusters.of(one) == clusters.of(other):
            continue
        similarity = minhash.similarity(texts[one], texts[other])
        if similarity < threshold:
            failures[other] += 1
            continue
        clusters.join(one, other)
        served.add(kind)
        yield _Match(one, other, similarity)


def _as_integers(pairs: Numbers) -> Iterator[list[int]]:
    for start in range(0, len(pairs), _CHUNK):  # not all at once: Python's take ten times the room
        yield from pairs[start : start + _CHUNK].tolist()


def _copies(rows: _Rows, leaders: Numbers, found: Sequence[_Match]) -> list[_Match]:
    """The matches of rows that say the same as an earlier one: it, and its match elsewhere."""
    elsewhere = {
        match.second: match for match in found if rows.file[match.first] != rows.file[match.second]
    }
    copies = []
    for row in np.flatnonzero(leaders != np.arange(len(leaders))).tolist():
        leader = int(leaders[row])
        copies.append(_Match(leader, row, 1.0))
        if leader in elsewhere:
            copies.append(elsewhere[leader]._replace(second=row))
    return copies
