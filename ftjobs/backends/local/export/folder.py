"""Folders that are there whole or not at all, and that take only the place of their like."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from ftjobs.disk import PART, check_name, sync_folder, taken
from ftjobs.errors import ConfigError, FtjobsError

NOTE = "ftjobs.json"
"""The file by which an export is known again: what it is, and which files are its own."""
_SPARE = 64 << 20  # bytes that an export leaves free
_EVERY = 10.0  # seconds between two lines about what is written


@dataclass(frozen=True)
class Draft:
    """`out` becomes the folder; what lies in `work` is thrown away."""

    out: Path
    work: Path

    def files(self) -> dict[str, int]:
        """The sizes of the files of `out` in bytes, by their names in it."""
        return {name: (self.out / name).stat().st_size for name in _files_in(self.out)}


@contextlib.contextmanager
def whole(folder: Path, *, force: bool, needed: int, facts: Mapping[str, Any]) -> Iterator[Draft]:
    """A draft that becomes `folder` when the block ends well; nothing of it stays otherwise.

    `needed` is how many bytes the block may write at once; `facts` go into the folder's note.

    Raises:
        ConfigError: there is something already (with `force`: that is no export), or no folder
            can be made there.
        FtjobsError: the disk has no room, or cannot be written.
    """
    folder = _place(folder, force=force)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _require_room(folder, needed)
        room = folder.with_name(f".ftjobs-{secrets.token_hex(8)}{PART}")
        draft = Draft(room / "out", room / "work")
        draft.out.mkdir(parents=True)
        draft.work.mkdir()
    except OSError as error:
        if isinstance(error, FtjobsError):
            raise
        raise ConfigError(
            f"{folder}: {error.strerror or error}", hint="Choose a folder that can be written."
        ) from None
    try:
        yield draft
        _publish(draft, folder, force=force, facts=facts)
    except (OSError, SafetensorError) as error:
        if isinstance(error, FtjobsError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FtjobsError(
            f"{folder}: {reason}", hint="Nothing is left of what was written."
        ) from None
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _place(folder: Path, *, force: bool) -> Path:
    """The folder's full path, if an export may take it."""
    check_name(folder)
    try:
        folder = folder.expanduser().resolve()
        if os.path.lexists(folder):
            _require_movable(folder)
        if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
            return folder
        if force:
            _require_export(folder)
            return folder
    except (OSError, RuntimeError) as error:  # no such user; a part of the path is a file
        if isinstance(error, FtjobsError):
            raise
        raise ConfigError(f"{folder}: {getattr(error, 'strerror', None) or error}") from None
    raise taken(folder)


def _require_movable(folder: Path) -> None:
    """Refuse a folder in whose place no other can be put: here, or where a disk is mounted."""
    if os.path.ismount(folder):
        what = "a disk is mounted there"
    elif folder == Path.cwd():  # whoever stands in it would stand nowhere afterwards
        what = "it is the current folder"
    else:
        return
    raise ConfigError(
        f"{folder}: another folder cannot take its place: {what}",
        hint="Give a new folder inside it.",
    )


def _require_export(folder: Path) -> None:
    """Refuse to remove what is not certainly an earlier export, such as a home folder."""
    try:
        note = json.loads((folder / NOTE).read_text("utf-8"))
        own = {*note["files"], NOTE}
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"{folder}: is no export of ftjobs, so it is not replaced", hint="Give another name."
        ) from None
    if others := [name for name in _files_in(folder) if name not in own]:
        raise ConfigError(
            f"{folder}: holds {others[0]!r}, which no export wrote, so it is not replaced",
            hint="Move that file away, or give another name.",
        )


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder.parent).free
    if free < needed + _SPARE:
        raise FtjobsError(
            f"{folder}: the export needs {size(needed)} and the disk has {size(free)} free",
            hint="Free some space, or choose a folder on another disk.",
        )


def _publish(draft: Draft, folder: Path, *, force: bool, facts: Mapping[str, Any]) -> None:
    note = json.dumps({**facts, "files": draft.files()}, indent=1, sort_keys=True)
    (draft.out / NOTE).write_text(note + "\n", "utf-8")
    mode = stat.S_IMODE((draft.out / NOTE).stat().st_mode)  # as new files have it here
    for name in _files_in(draft.out):
        with (draft.out / name).open("rb") as written:
            os.fchmod(written.fileno(), mode)  # safetensors lets nobody else read
            os.fsync(written.fileno())
    for inner in (path for path in draft.out.rglob("*") if path.is_dir()):
        sync_folder(inner)
    sync_folder(draft.out)
    _place(folder, force=force)  # somebody may have come in between
    old = draft.work / "replaced"
    try:
        if folder.exists():
            folder.rename(old)
        draft.out.rename(folder)
    except BaseException:  # Ctrl-C too: what is in `work` is about to be thrown away
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)


def _files_in(folder: Path) -> list[str]:
    """What is not a folder, at any depth, by its path from `folder`."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


@contextlib.contextmanager
def watched(
    folder: Path, total: int, say: Callable[[str], None], *, every: float = _EVERY
) -> Iterator[None]:
    """Say now and then, while the block runs, how much of about `total` bytes is in `folder`."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(every):
            say(f"{size(_weight(folder))} of about {size(total)} written")

    thread = threading.Thread(target=look, name="export", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _weight(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # renamed or removed since
            total += path.stat().st_size
    return total


def size(count: float) -> str:
    """A number of bytes in words: 1000 of them are a kilobyte."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
