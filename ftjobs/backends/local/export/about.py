"""What is known of a model: base, data, recipe, metrics, licence.  No times, no texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftjobs.backends.local import models
from ftjobs.backends.local.models import BaseModel
from ftjobs.backends.local.sources import HUB_ID
from ftjobs.backends.local.store import Store
from ftjobs.errors import NotFoundError
from ftjobs.schema import JobSpec

_MEASURED = ("train_", "valid_", "full_valid_")
"""How the names of losses and their like begin; speeds and times are no part of a card."""
_TASKS = {
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSequenceClassification": "text-classification",
}
"""Tasks in the words of the Hugging Face hub, by how an architecture's name ends."""
_LARGEST_CARD = 1 << 20  # bytes


@dataclass(frozen=True)
class Licence:
    """A base model's licence, as its own card or configuration names it (an SPDX-like id)."""

    id: str
    name: str = ""
    link: str = ""


@dataclass(frozen=True)
class File:
    """A file of examples: what it was for, its hash, and how many rows were taken from it."""

    purpose: str
    sha256: str = ""
    rows: int | None = None


@dataclass(frozen=True)
class Training:
    """How a fine-tuned model came to be.

    `metrics` are those of its step; `best` is the step of the job so far with the lowest loss on
    all validation examples, and that loss.
    """

    model: str
    method: str
    step: int
    total_steps: int | None
    recipe: Mapping[str, Any]
    files: tuple[File, ...]
    metrics: Mapping[str, float]
    best: tuple[int, float] | None = None


@dataclass(frozen=True)
class About:
    """A model.  `hub_id` is empty where the base is not known to be on a hub; `task` likewise."""

    base: str
    fingerprint: str
    hub_id: str = ""
    task: str = ""
    licence: Licence | None = None
    training: Training | None = field(default=None)

    @property
    def name(self) -> str:
        """The fine-tuned model's name, or the base's."""
        return self.training.model if self.training else self.base_name

    @property
    def base_name(self) -> str:
        """The base's name for everybody: no path of this machine."""
        return self.hub_id or Path(self.base).name


@dataclass(frozen=True)
class Found:
    """What an export found out: `notes` are the rows of a table, `rank` is that of an adapter.

    `file` is the name of the one file that other programs are given.
    """

    notes: Mapping[str, str] = field(default_factory=dict)
    rank: int = 0
    file: str = ""


def of_base(base: BaseModel, training: Training | None = None) -> About:
    """What is known of a base model, and of a model that was made from it."""
    return About(
        base=base.name,
        fingerprint=base.fingerprint,
        hub_id=hub_id(base),
        task=task(base.folder),
        licence=licence(base),
        training=training,
    )


def of_step(store: Store, job_id: str, step: int, model: str) -> Training:
    """How `model`, which is a job as it stood after `step`, came to be.

    The same job gives the same answer, whenever it is asked.
    """
    spec, stored = store.spec(job_id), store.recipe(job_id) or {}
    metrics, best, total = _metrics(store, job_id, step)
    return Training(
        model=model,
        method=spec.method,
        step=step,
        total_steps=total,
        recipe=stored.get("recipe", {}),
        files=_files(store, spec, stored.get("examples", {})),
        metrics=metrics,
        best=best,
    )


def _metrics(
    store: Store, job_id: str, step: int
) -> tuple[dict[str, float], tuple[int, float] | None, int | None]:
    """The numbers of a step, the best step up to it, and how many steps there are to be."""
    mine: dict[str, float] = {}
    best, total = None, None
    for event in store.events(job_id):
        found = event.metrics
        if found is None or found.step is None or found.step > step:
            continue
        total = found.total_steps or total
        loss = found.full_valid_loss
        if loss is not None and (best is None or loss < best[1]):
            best = (found.step, loss)
        if found.step == step:
            told = found.model_dump(exclude_none=True)
            mine = {name: told[name] for name in told if name.startswith(_MEASURED)}
    return mine, best, total


def _files(store: Store, spec: JobSpec, rows: Mapping[str, int]) -> tuple[File, ...]:
    """Training and validation examples; a split is a part of the training file."""
    training = _hash(store, spec.training_file)
    found = [File("training", training, rows.get("train"))]
    if spec.validation_file:
        found.append(File("validation", _hash(store, spec.validation_file), rows.get("validation")))
    elif rows.get("validation"):
        found.append(File("validation", training, rows["validation"]))
    return tuple(found)


def _hash(store: Store, file_id: str) -> str:
    try:
        return store.file(file_id).sha256 or ""
    except NotFoundError:  # deleted since
        return ""


def hub_id(base: BaseModel) -> str:
    """The base model's id on the Hugging Face hub, or "" for a folder of one's own."""
    if base.name == models.DEFAULT_MODEL:
        return HUB_ID
    if models.as_folder(base.name) is None:
        return base.name
    cached = re.search(r"/models--([\w.-]+?)--([\w.-]+)/snapshots/", f"{base.folder}/")
    return f"{cached[1]}/{cached[2]}" if cached else ""


def task(folder: Path) -> str:
    """What a model is for, in the hub's words, or "" where its architecture does not say."""
    names = _json(folder / "config.json").get("architectures") or [""]
    return next((task for end, task in _TASKS.items() if str(names[0]).endswith(end)), "")


def licence(base: BaseModel) -> Licence | None:
    """The base model's licence, where its card or its configuration names one."""
    if base.name == models.DEFAULT_MODEL:
        return Licence("apache-2.0")  # as its package and its hub page say
    said = {**_json(base.folder / "config.json"), **_front_matter(base.folder / "README.md")}
    found = {key: str(said.get(key) or "") for key in ("license", "license_name", "license_link")}
    if not re.fullmatch(r"[\w.+-]{1,64}", found["license"]):
        return None
    return Licence(found["license"], found["license_name"], found["license_link"])


def _front_matter(path: Path) -> dict[str, Any]:
    from huggingface_hub import metadata_load

    try:
        if path.stat().st_size > _LARGEST_CARD:
            return {}
        found = metadata_load(path)
    except Exception:  # noqa: BLE001 — a card is somebody else's YAML, and no card is no fault
        return {}
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
