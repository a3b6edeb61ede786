"""From the name that a user gives to what is exported: a base model and an adapter, both whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.export import about as knowing
from ftjobs.backends.local.export.about import About
from ftjobs.backends.local.models import BaseModel
from ftjobs.backends.local.sources import Say
from ftjobs.backends.local.store import Store
from ftjobs.errors import ModelError, NotFoundError, UnsupportedError


@dataclass(frozen=True)
class Source:
    """What is exported: a base model, and an adapter's folder unless it is the base itself.

    `labels` are the answers of a classifier.
    """

    base: BaseModel
    adapter: Path | None
    about: About
    labels: tuple[str, ...] = ()

    def adapter_config(self) -> dict[str, Any]:
        """PEFT's settings of the adapter.  ModelError if there is none."""
        if self.adapter is None:
            raise UnsupportedError(
                f"{self.about.base} is a base model, which has no adapter",
                hint="Name a fine-tuned model or a checkpoint: ftjobs models list",
            )
        config: dict[str, Any] = json.loads(
            (self.adapter / "adapter_config.json").read_text("utf-8")
        )
        return config


def find(store: Store, cache: Path, model: str, say: Say) -> Source:
    """The base model, and the adapter where `model` is a fine-tuned model or a checkpoint.

    Raises:
        NotFoundError: there is no such model.
        ModelError: its files are damaged, or the base is another one than it was trained on.
    """
    if not model.startswith("ft:"):
        if not models.is_name(model):
            raise NotFoundError(f"no model {model!r}", hint="See: ftjobs models list")
        base = models.prepare(model, cache, say)
        return Source(base, None, knowing.of_base(base))
    adapter, job = store.adapter(model)
    facts = checkpoints.verify(adapter)
    if facts is None:
        raise ModelError(f"the checkpoint {adapter.name} of {model} is damaged or gone")
    base = models.prepare(job.model, cache, say)
    if facts["base_fingerprint"] != base.fingerprint:
        raise ModelError(
            f"the files of {base.name} have changed since {model} was trained on them",
            hint="Put the old files back: on other weights, it would be another model.",
        )
    training = knowing.of_step(store, job.id, int(facts["step"]), model)
    labels = tuple(map(str, facts.get("labels", ())))
    return Source(base, adapter, knowing.of_base(base, training), labels)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer and chat template of training.  ModelError if there is none."""
    return models.load_tokenizer(source.adapter or source.base.folder)


def load_base(source: Source, say: Say) -> Any:
    """The base model in float32 on the CPU: what every check and every merge begins with.

    Raises:
        UnsupportedError: its weights are stored quantised.
        ModelError: they cannot be read.
    """
    config = json.loads((source.base.folder / "config.json").read_text("utf-8"))
    if config.get("quantization_config"):
        raise UnsupportedError(
            f"the weights of {source.base.name} are stored quantised",
            hint="Export from the model that they were made from: rounding twice spoils it.",
        )
    say(f"Loading {source.about.base_name} in float32")
    return models.load_model(
        source.base.folder, dtype="float32", device="cpu", labels=source.labels
    )


def with_adapter(model: Any, folder: Path) -> Any:
    """`model` with the adapter of a folder, by PEFT.  ModelError if it does not fit."""
    from peft import PeftModel

    try:
        with models.quietly():
            return PeftModel.from_pretrained(model, folder).eval()
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"the adapter {folder.name} does not fit its base: {reason}") from None
