"""A folder that outlives its service: files that are there whole or not at all, and a manifest.

Whatever ends the process, every file of the folder holds all of its bytes: data goes to a
temporary file first, which gets its name when it is on the disk.  Names are made from words of
the service, which may be anything, and lead nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ftjobs.backends.base import Downloads, Progress, Trainer
from ftjobs.disk import PART, publish, settle, stored_by, written
from ftjobs.errors import ConfigError
from ftjobs.schema import Job

__all__ = [
    "Archive",
    "FileEntry",
    "Gap",
    "JobEntry",
    "Kept",
    "Manifest",
    "ModelEntry",
    "folder_name",
    "json_bytes",
    "service_path",
]

RESTS = 20  # seconds of other work for every second that writing the manifest takes
LONGEST_ID, LONGEST_LABEL = 80, 60  # bytes; file systems take 255 for a name


def _inside(path: str) -> str:
    """A manifest may come from anybody: what it names must not lead out of its folder."""
    first, *rest = re.split(r"[/\\]", path)
    if not first or ".." in (first, *rest) or set(path) & {"\0", ":"}:
        raise ValueError("leads out of the folder")
    return path


_Path = Annotated[str, AfterValidator(_inside)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kept(_Entry):
    """A file of the folder; `path` is relative to it, with "/" between names."""

    path: _Path
    sha256: str
    bytes: int


class Gap(_Entry):
    """Why something is not here.  `final` means that asking again cannot help."""

    reason: str
    final: bool


class FileEntry(_Entry):
    """A file of the service: `kept`, or `missing`.  `note` says what is odd about its bytes."""

    filename: str = ""
    purpose: str = ""
    kept: Kept | None = None
    missing: Gap | None = None
    note: str = ""


class JobEntry(_Entry):
    """A job of the service.

    `settled` means that it had ended, and every event had come, when it was read.  `files` are
    by name in `folder`; `missing` says why others could not be had.
    `service_files` are the ids of its training, validation and result files.
    """

    folder: _Path
    status: str
    model: str
    created_at: int
    fine_tuned_model: str | None = None
    settled: bool = False
    read_at: int = 0
    files: dict[str, Kept] = Field(default_factory=dict)
    missing: dict[str, Gap] = Field(default_factory=dict)
    service_files: tuple[str, ...] = ()


class ModelEntry(_Entry):
    """A tuned model.  `listed` says whether the service still lists it.

    `shutdown_date` is YYYY-MM-DD, of the model itself or else of its base model (`by`); None
    where the service gives neither.
    """

    job: str
    base: str
    listed: bool
    shutdown_date: str | None = None
    by: Literal["model", "base model"] | None = None


class Manifest(_Entry):
    """All that is known of the folder, by the ids of the service."""

    version: Literal[1] = 1
    backend: str
    updated_at: int = 0
    jobs: dict[str, JobEntry] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)
    models: dict[str, ModelEntry] = Field(default_factory=dict)


class Archive:
    """The folder, open for one process at a time; see `Archive.opened`."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.jobs, self.files = dict(manifest.jobs), dict(manifest.files)
        self.models = dict(manifest.models)
        self._backend = manifest.backend
        self._rest_until = 0.0

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, backend: str) -> Iterator[Archive]:
        """The archive in `folder`, made if there is none; its manifest is saved at the end.

        Raises:
            ConfigError: the folder holds something else, or the jobs of another backend, or
                another process writes to it.
            FtjobsError: it cannot be written, for example because the disk is full.
        """
        from filelock import FileLock, Timeout

        with stored_by(folder):
            _require_archive(folder)
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it will hold training data
            lock = FileLock(folder / ".lock", timeout=0)
            try:
                lock.acquire()
            except Timeout:
                raise ConfigError(f"{folder}: another process writes to it") from None
        try:
            archive = cls(folder, _manifest(folder, backend))
            archive.save()
            try:
                yield archive
            finally:
                archive.save()
        finally:
            lock.release()

    @property
    def manifest(self) -> Manifest:
        """What the folder holds now."""
        return Manifest(
            backend=self._backend,
            updated_at=int(time.time()),
            jobs=self.jobs,
            files=self.files,
            models=self.models,
        )

    def save(self) -> None:
        """Write the manifest."""
        start = time.monotonic()
        with written(self.folder / "manifest.json") as file:
            file.write(json_bytes(self.manifest, indent=1))
        end = time.monotonic()
        self._rest_until = end + RESTS * (end - start)

    def save_soon(self) -> None:
        """Write the manifest, unless that would take most of the time, as with 10,000 jobs."""
        if time.monotonic() >= self._rest_until:
            self.save()

    def write(self, path: str, data: bytes) -> Kept:
        """Put a file into the folder, over one that is there."""
        target = self.folder / path
        with stored_by(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        with written(target) as file:
            file.write(data)
        return Kept(path=path, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))

    def fetch(
        self, backend: Trainer, file_id: str, path: str, progress: Progress, *, size: int = 0
    ) -> Kept:
        """Bring a file of the service into the folder, unless it is there already.

        `size` is what the service says of it, 0 where that cannot be trusted.
        """
        target = self.folder / path
        with stored_by(target):
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                _download(backend, file_id, target, progress, size)
        with stored_by(target), target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Kept(path=path, sha256=digest, bytes=file.tell())

    def holds(self, kept: Kept | None) -> bool:
        """Whether a file is still here, with the size that it had."""
        if kept is None:
            return False
        path = self.folder / kept.path
        return path.is_file() and path.stat().st_size == kept.bytes

    def drop(self, kept: Kept) -> None:
        """Delete a file that is not what it was."""
        with stored_by(self.folder / kept.path):
            (self.folder / kept.path).unlink(missing_ok=True)


def _require_archive(folder: Path) -> None:
    """Refuse a folder of something else before anything is written into it."""
    if "\0" in str(folder):
        raise ConfigError("the path of the folder holds a zero byte", hint="Check the path.")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: not a folder", hint="Name a new folder.")
    if not folder.is_dir() or (folder / "manifest.json").exists():
        return
    if any(not each.name.startswith(".") for each in folder.iterdir()):
        raise ConfigError(
            f"{folder}: holds something else already", hint="Name a new or empty folder."
        )


def _manifest(folder: Path, backend: str) -> Manifest:
    path = folder / "manifest.json"
    try:
        # Not by pydantic's own reader: it takes no half of a surrogate pair, which a name may hold.
        manifest = Manifest.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return Manifest(backend=backend)
    except (ValueError, RecursionError, OSError):
        raise ConfigError(
            f"{path}: not a manifest that this version of ftjobs can read",
            hint="Name a new folder, or delete the manifest to fetch everything again.",
        ) from None
    if manifest.backend != backend:
        raise ConfigError(
            f"{folder}: holds jobs of {manifest.backend}, not of {backend}",
            hint="Name another folder for this backend.",
        )
    return manifest


def _download(backend: Trainer, file_id: str, target: Path, progress: Progress, size: int) -> None:
    """Fetch a file beside `target`, going on where a killed process stopped, then name it."""
    part = target.with_name(target.name + PART)
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        here = file.seek(0, os.SEEK_END)
        if not isinstance(backend, Downloads):
            file.truncate(0)
            file.seek(0)
            file.write(backend.content(file_id))
        elif not size or here != size:  # else only the name is missing
            backend.download(file_id, file, progress=progress)
        settle(file)
    publish(part, target, force=True)


# --- files ------------------------------------------------------------------------------------


def json_bytes(value: object, *, indent: int | None = None) -> bytes:
    """`value` as a line of JSON in UTF-8, with escapes where it holds half a surrogate pair."""
    from pydantic_core import to_jsonable_python

    plain = to_jsonable_python(value, inf_nan_mode="null")
    try:
        return f"{json.dumps(plain, ensure_ascii=False, indent=indent)}\n".encode()
    except UnicodeEncodeError:
        return f"{json.dumps(plain, indent=indent)}\n".encode()


# --- names ------------------------------------------------------------------------------------


def safe_id(word: str) -> str:
    """A file name for an id of the service: itself where it is harmless.

    Otherwise what is harmless of it, "~" and ten digits of its SHA-256: two ids have two names,
    also where the file system does not tell upper from lower case.
    """
    kept = re.sub(r"[^A-Za-z0-9_-]", "_", word)[:LONGEST_ID]
    if kept == word == word.lower() and word and not word.startswith("-"):
        return word
    digest = hashlib.sha256(word.encode(errors="surrogatepass")).hexdigest()
    return f"{kept.lstrip('-')}~{digest[:10]}"


def service_path(file_id: str, ending: str = "jsonl") -> str:
    """Where a file of the service is kept."""
    return f"files/{safe_id(file_id)}.{ending}"


def folder_name(job: Job) -> str:
    """CREATED-SUFFIX--ID, or the model where there is no suffix; letters of every script stay.

    A label holds no "--", so no two jobs share a name.
    """
    label = _label(job.suffix or job.model)
    return (
        "-".join(part for part in (_date(job.created_at), label) if part) + f"--{safe_id(job.id)}"
    )


def _label(words: str) -> str:
    plain = unicodedata.normalize("NFC", words)
    kept = "".join(c if c.isalnum() or c in "._" else "-" for c in plain)
    cut = kept.encode(errors="ignore")[:LONGEST_LABEL].decode(errors="ignore")
    return re.sub(r"[-.]{2,}", "-", cut).strip("-._")


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "undated"
