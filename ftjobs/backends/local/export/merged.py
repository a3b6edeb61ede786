"""A model of its own: the adapter merged into the base, in float32, from unquantised weights.

Merging in a lower precision, or into weights that were rounded before, loses what was learned
(unsloth #5410, peft #2321).  So everything is computed in float32, compared, and rounded once, at
the end.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ftjobs.backends.local import models
from ftjobs.backends.local.export.about import Found
from ftjobs.backends.local.export.check import compare, logits
from ftjobs.backends.local.export.folder import watched
from ftjobs.backends.local.export.outtypes import DTYPES
from ftjobs.backends.local.export.source import Source, load_base, load_tokenizer, with_adapter
from ftjobs.backends.local.sources import Say
from ftjobs.errors import ModelError

_MERGED = 1e-4
"""How far merging may move a logit, relative to the largest: what float32 rounds."""
_READ_BACK = 1e-6
_SHARD = "5GB"
_NAMES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


def base_dtype(folder: Path) -> str:
    """What most of a model's weights are stored as; float32 where it is none of `DTYPES`."""
    sizes: dict[str, int] = {}
    for kind, count in _tensors(folder):
        sizes[kind] = sizes.get(kind, 0) + count
    return _NAMES.get(max(sizes, key=lambda kind: sizes[kind], default=""), "float32")


def needed(source: Source, dtype: str | None) -> int:
    """About how many bytes `write` writes."""
    parameters = sum(count for _, count in _tensors(source.base.folder))
    return parameters * DTYPES[dtype or base_dtype(source.base.folder)] + (32 << 20)


def _tensors(folder: Path) -> list[tuple[str, int]]:
    """The dtype and the number of elements of each tensor, from the files' headers alone."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                parts = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 — no mapping
                found += [(part.get_dtype(), _product(part.get_shape())) for part in parts]
        except Exception as error:  # noqa: BLE001 — safetensors raises its own kind for damage
            raise ModelError(f"{path} cannot be read: {error}") from None
    return found


def _product(shape: list[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def write(source: Source, target: Path, say: Say, *, dtype: str | None = None) -> Found:
    """Write weights, configuration, tokenizer and stop tokens into `target`, and check them.

    `dtype` is the weights', one of `DTYPES`, by default what the base's are stored as.

    Raises:
        UnsupportedError: the base's weights are stored quantised.
        ModelError: the merged model computes something else, or does not fit into `dtype`.
    """
    dtype = dtype or base_dtype(source.base.folder)
    tokenizer = load_tokenizer(source)
    model, notes = _merge(source, tokenizer, say)
    before = logits(model, tokenizer)
    _round(model, dtype)
    rounded = logits(model, tokenizer)
    notes |= {"dtype": dtype}
    if dtype != "float32":
        notes[f"difference by rounding to {dtype}"] = str(compare(before, rounded))
    _save(model, source, target, dtype, say)
    _save_tokenizer(source, tokenizer, target)
    del model  # the copy that is read back needs its room
    say("Reading it back")
    again = models.load_model(target, dtype="float32", device="cpu")
    compare(rounded, logits(again, tokenizer)).require(_READ_BACK, what="the written model")
    return Found(notes)


def _merge(source: Source, tokenizer: Any, say: Say) -> tuple[Any, dict[str, str]]:
    """The model in float32, and how far it is from what was trained."""
    model = load_base(source, say)
    if source.adapter is None:
        return model, {}
    adapted = with_adapter(model, source.adapter)
    expected = logits(adapted, tokenizer)
    say("Merging the adapter")
    try:
        with models.quietly():
            model = adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:  # PEFT found NaN
        raise ModelError(f"the adapter cannot be merged: {error}") from None
    difference = compare(expected, logits(model, tokenizer))
    difference.require(_MERGED, what="the merged model")
    return model, {"difference by merging": str(difference)}


def _round(model: Any, dtype: str) -> None:
    """Make every weight one that `dtype` holds.  ModelError if one is too large for it."""
    for name, parameter in model.named_parameters():
        rounded = parameter.data.to(getattr(torch, dtype))
        if not bool(torch.isfinite(rounded).all()):
            raise ModelError(
                f"the weights of {name} are too large for {dtype}",
                hint="Choose --dtype bfloat16 or float32.",
            )
        parameter.data = rounded.float()


def _save(model: Any, source: Source, target: Path, dtype: str, say: Say) -> None:
    total = needed(source, dtype)
    say(f"Writing the weights in {dtype}")
    with watched(target, total, say), models.quietly():
        if model.can_generate():
            model.generation_config = type(model.generation_config)()  # `_write_stops` writes it
        model.to(getattr(torch, dtype)).save_pretrained(target, max_shard_size=_SHARD)
    _restore_dropout(source.base.folder / "config.json", target / "config.json")


def _save_tokenizer(source: Source, tokenizer: Any, target: Path) -> None:
    """Tokenizer, chat template and stop tokens, as training had them."""
    tokenizer.save_pretrained(target)
    for path in source.base.folder.glob("*.model"):  # llama.cpp reads sentencepiece's own file
        if not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
    if models.family(source.base.folder) != "classifier":
        _write_stops(source, tokenizer, target)


def _write_stops(source: Source, tokenizer: Any, target: Path) -> None:
    """generation_config.json: the base's, with every token that ends an answer."""
    known = _json(source.base.folder / "generation_config.json")
    stops = sorted(models.stop_ids(tokenizer, source.base.folder))
    known["eos_token_id"] = stops if len(stops) > 1 else stops[0]
    for name in ("bos_token_id", "pad_token_id"):
        if known.get(name) is None and getattr(tokenizer, name) is not None:
            known[name] = getattr(tokenizer, name)
    known.setdefault("pad_token_id", stops[0])
    text = json.dumps(known, indent=2, sort_keys=True)
    (target / "generation_config.json").write_text(text + "\n", "utf-8")


def _restore_dropout(original: Path, written: Path) -> None:
    """Give the configuration the base's dropout back, which is off while ftjobs has a model."""
    base, config = _json(original), _json(written)
    for name, value in base.items():
        if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
            config[name] = value
    written.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else {}
