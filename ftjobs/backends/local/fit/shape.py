"""The sizes of a base model, from config.json and the headers of its safetensors files.

No weight is read: a header names each tensor with its dtype and shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.backends.local.families import Family, configuration, family
from ftjobs.errors import ModelError

_LONGEST_HEADER = 100_000_000
"""Bytes; safetensors itself reads no longer one."""
_NOT_ADAPTED = (
    "embed", "wte", "wpe", "shared", "lm_head", "relative_attention_bias", "cls.", "pooler",
    "classifier", "score",
)  # fmt: skip
"""What stands in the names of matrices that are no linear layer, or the head."""


@dataclass(frozen=True)
class Linear:
    """A linear layer, by the name of its module."""

    name: str
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Shape:
    """The sizes of a base model.

    `parameters` counts tied weights once.  `linear` are the layers that adapters go on by default.
    `config` is config.json, of a model of text and images its text part.
    """

    kind: str
    family: Family
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    parameters: int
    linear: tuple[Linear, ...]
    config: Mapping[str, Any]

    @property
    def linear_parameters(self) -> int:
        """Weights of the linear layers, which can be quantised."""
        return sum(layer.inputs * layer.outputs for layer in self.linear)

    def adapted(self, targets: Sequence[str] = ()) -> tuple[Linear, ...]:
        """The layers that `lora_target_modules` name; all if there are none."""
        if not targets:
            return self.linear
        ends = tuple(f".{target}" for target in targets)
        return tuple(layer for layer in self.linear if f".{layer.name}".endswith(ends))


def read_shape(folder: Path) -> Shape:
    """The sizes of the model in a folder.

    Raises:
        ModelError: config.json or a header cannot be read, or leaves out a size.
    """
    whole = configuration(folder)
    config = {**whole, **(whole.get("text_config") or {})}
    tensors = dict(_tensors(folder))
    if config.get("tie_word_embeddings", True) and len(tensors) > 1:
        tensors.pop("lm_head.weight", None)
    kind = str(config.get("model_type"))

    def size(*names: str, default: int | None = None) -> int:
        found = next((config[n] for n in names if isinstance(config.get(n), int)), default)
        if found is None or found <= 0:
            raise ModelError(f"{folder / 'config.json'} does not say {names[0]}")
        return int(found)

    hidden, heads = size("hidden_size", "n_embd", "d_model"), _heads(size)
    layers = size("num_hidden_layers", "n_layer", "num_layers")
    return Shape(
        kind=kind,
        family=family(folder),
        hidden=hidden,
        layers=layers + size("num_decoder_layers", default=layers)
        if whole.get("is_encoder_decoder")
        else layers,
        heads=heads,
        kv_heads=size("num_key_value_heads", default=heads),
        head_size=size("head_dim", "d_kv", default=max(1, hidden // heads)),
        intermediate=size("intermediate_size", "n_inner", "d_ff", default=4 * hidden),
        vocabulary=size("vocab_size"),
        parameters=sum(math.prod(shape) for shape in tensors.values()),
        linear=tuple(_linear(tensors, is_transposed=kind == "gpt2")),
        config=config,
    )


def _heads(size: Any) -> int:
    return int(size("num_attention_heads", "n_head", "num_heads"))


def _linear(tensors: Mapping[str, tuple[int, ...]], *, is_transposed: bool) -> Iterator[Linear]:
    """Matrices that are weights of layers.  GPT-2's lie the other way round."""
    for name, shape in tensors.items():
        module, _, end = name.rpartition(".")
        if len(shape) == 2 and end == "weight" and not any(word in name for word in _NOT_ADAPTED):
            outputs, inputs = reversed(shape) if is_transposed else shape
            yield Linear(module, inputs, outputs)


# --- headers ----------------------------------------------------------------------------------


def _tensors(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    for path in _files(folder):
        for name, entry in _header(path).items():
            if name != "__metadata__":
                yield name, _shape(entry, path)


def _files(folder: Path) -> list[Path]:
    """The files that transformers loads: a folder may hold the weights a second time."""
    index, whole = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if whole.is_file():
        return [whole]
    try:
        named = json.loads(index.read_text("utf-8"))["weight_map"].values()
        return [folder / str(name) for name in sorted(set(named))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return sorted(folder.glob("*.safetensors"))


def _header(path: Path) -> dict[str, Any]:
    """The JSON at a file's beginning, behind its length in 8 bytes, little-endian."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > min(_LONGEST_HEADER, path.stat().st_size):
                raise ValueError("its header is longer than the file")
            found = json.loads(file.read(size))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} has no header of safetensors")
    return found


def _shape(entry: Any, path: Path) -> tuple[int, ...]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ModelError(f"{path} has no header of safetensors")
    return tuple(shape)
