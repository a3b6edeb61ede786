"""Folders of safetensors that are either whole or absent.

A folder is written under a temporary name: contents first, `manifest.json` with their sizes and
hashes last, everything flushed to disk, then renamed.  So a folder with its final name is whole
unless the disk itself failed, and `verify` finds that out.

Two kinds per job: `ckpt-step-N`, an adapter in PEFT's layout with tokenizer and chat template,
which can be asked; and `state-step-N`, what a `Run` needs to go on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ftjobs.backends.local.store import sync_folder

MANIFEST = "manifest.json"


def save_adapter(
    folder: Path, model: Any, tokenizer: Any, facts: Mapping[str, Any], *, card: str = ""
) -> None:
    """Publish the adapter.  `facts` (base model, step, data hash …) go into the manifest.

    `card` is its README.md; equal facts must come with equal cards.
    """
    with _published(folder, facts) as draft:
        model.save_pretrained(draft, save_embedding_layers=False)
        _sort_keys(draft / "adapter_config.json", base=str(facts["base_model"]))
        (draft / "README.md").unlink(missing_ok=True)  # an unfilled model-card template
        if card:
            (draft / "README.md").write_text(card, "utf-8")
        tokenizer.save_pretrained(draft)


def save_state(folder: Path, tensors: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Publish what a run needs to go on."""
    from safetensors.torch import save_file

    with _published(folder, facts) as draft:
        save_file(
            {key: value.contiguous() for key, value in tensors.items()}, draft / "state.safetensors"
        )


def newest_state(job_folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Tensors and facts of the newest whole state; a damaged one is passed over."""
    from safetensors.torch import load_file

    for folder in sorted(job_folder.glob("state-step-*"), key=step_of, reverse=True):
        facts = verify(folder)
        if facts is not None:
            return load_file(folder / "state.safetensors"), facts
    return None


def prune_states(job_folder: Path, *, keep: int) -> None:
    """Remove all but the newest `keep` states, and drafts that a crash left behind."""
    states = sorted(job_folder.glob("state-step-*"), key=step_of)
    for folder in [*states[: len(states) - keep], *job_folder.glob(".draft-*")]:
        shutil.rmtree(folder, ignore_errors=True)


def verify(folder: Path) -> dict[str, Any] | None:
    """The manifest's facts if every file is as it was written, else None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        for name, digest in manifest["files"].items():
            if _sha256(folder / name) != digest:
                return None
    except (OSError, ValueError, KeyError):
        return None
    return dict(manifest)


def step_of(folder: Path) -> int:
    """The step in a folder's name."""
    return int(folder.name.rpartition("-")[2])


@contextlib.contextmanager
def _published(folder: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
    try:
        yield draft
        # A tokenizer with several chat templates keeps them in a folder.
        files = sorted(path for path in draft.rglob("*") if path.is_file())
        digests = {path.relative_to(draft).as_posix(): _sha256(path) for path in files}
        manifest = json.dumps({**facts, "files": digests}, indent=1, sort_keys=True)
        (draft / MANIFEST).write_text(manifest, "utf-8")
        for path in [*files, draft / MANIFEST]:
            with path.open("rb") as written:
                os.fsync(written.fileno())
        sync_folder(draft)
        if folder.exists():
            if verify(folder) == {**facts, "files": digests}:
                return  # an earlier try of the same step, and somebody may be reading it
            folder.rename(folder.with_name(f".draft-damaged-{draft.name}"))
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sort_keys(path: Path, *, base: str) -> None:
    """PEFT writes sets in hash order, and the base's folder: make equal adapters equal bytes."""
    config = json.loads(path.read_text("utf-8"))
    if not isinstance(config["target_modules"], str):  # a pattern stays as it is
        config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base
    path.write_text(json.dumps(config, indent=1, sort_keys=True), "utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
