"""The plan file, `plan.json`: a plan that one step of a pipeline makes and another carries out.

It holds paths, hashes and settings, never a key or a line of data, and the SHA-256 of the rest:
what was reviewed is what is applied.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ftjobs.disk import write_bytes
from ftjobs.errors import ConfigError
from ftjobs.jobs.plan import Plan

__all__ = ["read_plan", "write_plan"]

LARGEST = 2**22
"""Bytes of a plan file; ftjobs writes a few thousand."""

VERSION = Plan.model_fields["version"].default
_AGAIN = "Make it again: ftjobs plan JOB -o PLAN"


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write `plan` as JSON: all of it or nothing, also if the machine stops meanwhile.

    Raises:
        ConfigError: a path in it is not UTF-8, or the file cannot be made there.
        FtjobsError: the disk is full.
    """
    values = {"object": "plan", **plan.model_dump(mode="json")}
    text = json.dumps({**values, "sha256": _digest(values)}, indent=2, ensure_ascii=False)
    try:
        data = f"{text}\n".encode()
    except UnicodeEncodeError:
        raise ConfigError("a plan file is UTF-8, and a path of this plan is not") from None
    write_bytes(Path(path), data)


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """The plan of a file, as it was written.

    Raises:
        ConfigError: it cannot be read, is no plan, was made by a newer ftjobs, or was changed.
    """
    path = Path(path)
    values = _values(path)
    if values.get("version") != VERSION:
        raise ConfigError(
            f"{path}: a plan of version {str(values.get('version'))[:20]}; this ftjobs reads "
            f"version {VERSION}",
            hint=_AGAIN,
        )
    if values.pop("sha256", None) != _digest(values):
        raise ConfigError(f"{path}: the plan was changed after it was made", hint=_AGAIN)
    try:
        del values["object"]
        return Plan.model_validate_json(json.dumps(values))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise ConfigError(f"{path}: not a whole plan ({where})", hint=_AGAIN) from None


def _values(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "cannot be a path"
        raise ConfigError(f"{path}: {reason}") from None
    try:
        values = json.loads(data) if len(data) <= LARGEST else None
    except (ValueError, RecursionError):  # cut short, or never JSON
        values = None
    if not isinstance(values, dict) or values.get("object") != "plan":
        raise ConfigError(f"{path}: not a plan, or cut short", hint=_AGAIN)
    return values


def _digest(values: dict[str, Any]) -> str:
    """The SHA-256 of values, however their file is laid out."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
