"""`read`: a file → a checked dataset, or an error that carries every issue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from ftjobs.data.checker import Manifest, Report, check
from ftjobs.data.reading import STDIN, DamagedError, lines_of, opened, stamp
from ftjobs.data.sniff import BOM
from ftjobs.errors import ConfigError, DatasetError, UnsupportedError
from ftjobs.schema import Example, Issue, Preference

_decoder = msgspec.json.Decoder(dict[str, object])
_Row = TypeVar("_Row", Example, Preference)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file that has been checked; iterate over it, as often as you like, for its examples.

    A preference dataset (DPO) has pairs instead: iterate over `preferences()`.  It holds no example
    in memory, pickles, and notices when the file has changed since.  `len()` is the number of
    examples; `warnings` are the issues that were no errors.
    """

    path: Path
    manifest: Manifest
    mtime_ns: int
    warnings: tuple[Issue, ...] = ()

    def __len__(self) -> int:
        return self.manifest.rows

    def __iter__(self) -> Iterator[Example]:
        """The examples in file order, read as they are asked for.

        Raises:
            ConfigError: the file is gone or cannot be read.
            DatasetError: the file has changed since it was checked.
            UnsupportedError: the examples are not supervised chat.
        """
        if self.manifest.method == "dpo":
            raise UnsupportedError(
                f"{self.path}: holds preferences, and no single examples",
                hint="Iterate over `dataset.preferences()`.",
            )
        self._require("supervised", "chat examples")
        return self._rows(Example)

    def preferences(self) -> Iterator[Preference]:
        """The pairs of a preference dataset (DPO) in file order, read as they are asked for.

        Raises:
            ConfigError: the file is gone or cannot be read.
            DatasetError: the file has changed since it was checked.
            UnsupportedError: the examples are no preferences.
        """
        self._require("dpo", "preferences")
        return self._rows(Preference)

    def _require(self, method: str, what: str) -> None:
        if self.manifest.method != method:
            raise UnsupportedError(
                f"{self.path}: a {self.manifest.method} dataset cannot be read as {what}",
                hint="It can be checked and submitted to a service that trains with this method.",
            )

    def check_unchanged(self) -> None:
        """Make sure that the file is the one that was checked, by its size and time of change.

        Raises:
            ConfigError: it is gone or cannot be read.
            DatasetError: it is another.
        """
        with opened(self.path) as file:
            self._check_unchanged(file)

    def _rows(self, kind: type[_Row]) -> Iterator[_Row]:
        with opened(self.path) as file:
            self._check_unchanged(file)
            for number, line in enumerate(self._lines(file), start=1):
                if line is not None and not line.removeprefix(BOM).isspace():
                    yield self._row(kind, number, line.removeprefix(BOM))
            self._check_unchanged(file)

    def _lines(self, file: BinaryIO) -> Iterator[bytes | None]:
        try:
            yield from lines_of(file)
        except DamagedError:  # it was whole when it was checked
            raise self._stale() from None

    def _check_unchanged(self, file: BinaryIO) -> None:
        now = stamp(file)
        plain = self.manifest.compression is None
        if now.mtime_ns != self.mtime_ns or (plain and now.size != self.manifest.bytes):
            raise self._stale()

    def _row(self, kind: type[_Row], number: int, line: bytes) -> _Row:
        try:
            row = _decoder.decode(line)
            row["line"] = number  # also over a key of the row that has this name
            return kind.model_validate(row)
        except ValueError:  # it was valid when it was checked
            raise self._stale() from None

    def _stale(self) -> DatasetError:
        return DatasetError(
            f"{self.path}: the file has changed since it was checked",
            hint="Read it again: ftjobs.read checks it anew.",
        )


def read(path: str | os.PathLike[str], *, target: str = "local") -> Dataset:
    """Check a file and hand it out if a job of `target` can train on it.

    Raises:
        ConfigError: the file cannot be opened or read, it is standard input, or there is no such
            target.
        DatasetError: it has errors; `issues` holds them and the warnings, 100,000 of each at most.
    """
    if Path(path) == STDIN:
        raise ConfigError(
            "standard input can be checked, but not read again for its examples",
            hint="Write it to a file first.",
        )
    report = check(path, target=target)
    if not report.ok:
        raise _error(report)
    return Dataset(
        path=report.path.absolute(),
        manifest=report.manifest,
        mtime_ns=report.mtime_ns,
        warnings=report.warnings,
    )


def _error(report: Report) -> DatasetError:
    first, more = report.errors[0], report.error_count - 1
    rest = f" (and {more} more error{'s' if more > 1 else ''})" if more else ""
    hint = first.hint
    if more:
        hint += f"\nSee all of them: ftjobs data check {report.path}"
    return DatasetError(f"{first}{rest}", issues=report.issues, hint=hint)
