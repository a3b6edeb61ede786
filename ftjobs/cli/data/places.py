"""Whether a file may be written where somebody wants it, told before the work and not after it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import click

from ftjobs.cli.show import clean_line
from ftjobs.data.tokens import row_of
from ftjobs.errors import ConfigError

_FIRST_LINE = 2**20  # bytes of it that are looked at


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths are those of one file, there or not yet."""
    try:
        return one.absolute() == other.absolute() or one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


def require_place(path: Path) -> None:
    """ConfigError if there can be no file of this path, because of what is there already."""
    try:
        has_folder, is_folder = path.parent.is_dir(), path.is_dir()
    except (OSError, ValueError) as error:  # such as a name that is too long
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not has_folder:
        raise ConfigError(f"{path}: there is no such folder", hint="Make the folder first.")
    if is_folder:
        raise ConfigError(f"{path}: is a folder", hint="Give the path of a file.")


def spare(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Refuse to write reports over data, or over each other.

    Data are the inputs, and any other file that begins with an example: the -o of other commands
    names a dataset, so that of a report may do so by mistake.

    Raises:
        click.UsageError: that would happen.
        ConfigError: an output cannot be written where it is to be.
    """
    inputs, outputs = list(inputs), list(outputs)
    for output in outputs:
        if any(is_same(path, output) for path in inputs) or _holds_data(output):
            raise click.UsageError(f"{clean_line(str(output))} holds data: it is not overwritten.")
        require_place(output)
    for one, other in combinations(outputs, 2):
        if is_same(one, other):
            raise click.UsageError(f"{clean_line(str(one))} cannot hold both files.")


def _holds_data(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return row_of(file.readline(_FIRST_LINE)) is not None
    except (OSError, ValueError):
        return False
