"""How many bytes a job holds at its peak: weights, adapter, activations and work space.

The sizes of activations are those that each way of computing keeps for its backward pass
(`training.packed.layer`, or transformers with PEFT); what else a process takes was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ftjobs.backends.local.fit.shape import Shape
from ftjobs.backends.local.training.recipe import Recipe

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 2, "int4": 2}
"""Of an activation.  With quantised weights, bfloat16 is computed."""
_WEIGHT = {"int8": 1.0, "int4": 0.5 + 1 / 64}
"""Bytes of a quantised weight; int4 has a scale of 8 bits for each 64 of them."""
_PER_PARAMETER = {
    "adamw": 16, "adam": 16, "adamw_8bit": 10, "adadelta": 16, "rmsprop": 16, "sgd": 12,
}  # fmt: skip
"""Bytes of an adapter's parameter in float32: itself, its gradient, what the optimiser keeps."""
RUNTIME = {"cpu": 530_000_000, "cuda": 600_000_000}
"""Of a process that has loaded torch, transformers and PEFT and multiplied some matrices; on a GPU,
of its context there, which was not measured."""
SLACK = {"packed": 1.2, "joined": 1.5, "padded": 1.5}
"""Activations take so many times their bytes on a CPU: pieces of freed memory lie between them."""
CHECKPOINTED = 0.6
"""The share of all activations that is held on a CPU where they are computed again, measured: far
more than one layer's."""
HEAD_NUMBERS = 1 << 23
"""Logits computed at once; `training.packed.head` says the same."""
PACKED = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""`training.packed.scorer.FAMILIES`."""
SHORT = 384
"""Tokens; `training.packed.attention` says the same."""


@dataclass(frozen=True)
class Load:
    """What is computed at once: tokens, those of the longest example, and those supervised."""

    tokens: int
    longest: int
    supervised: int


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak.  `work` is what one layer, the head and the products need meanwhile."""

    weights: int
    adapter: int
    activations: int
    work: int
    runtime: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations + self.work + self.runtime


def needed(shape: Shape, recipe: Recipe, train: Load, valid: Load | None = None) -> Memory:
    """The memory of the larger of a training step and a validation pass."""
    activations, work = _learning(shape, recipe, train)
    if valid:  # keeps nothing, but may hold a longer example
        work = max(work, _layer_work(shape, recipe, valid) + _head(shape, recipe, valid))
    return Memory(
        weights=_weights(shape, recipe.dtype) + _joined(shape, recipe),
        adapter=_adapter(shape, recipe),
        activations=math.ceil(activations),
        work=work,
        runtime=RUNTIME["cuda" if recipe.device == "cuda" else "cpu"],
    )


def way(shape: Shape, recipe: Recipe) -> str:
    """How layers are computed: "packed" by hand, "joined" or "padded" by transformers.

    What `training.objectives.scorer_for` chooses, but for what only a loaded model shows.
    """
    if shape.family != "decoder" or (recipe.torch_compile and recipe.device == "cpu"):
        return "padded"
    plain = not (recipe.lora_dropout or recipe.use_dora or recipe.gradient_checkpointing)
    by_hand = plain and not recipe.torch_compile and recipe.dtype not in _WEIGHT
    if by_hand and shape.kind in PACKED and recipe.device == "cpu" and not _window(shape):
        return "packed"
    caps = ("final_logit_softcapping", "attn_logit_softcapping")
    return "padded" if any(shape.config.get(cap) for cap in caps) else "joined"


def _window(shape: Shape) -> bool:
    window = shape.config.get("sliding_window")
    return bool(window and window < shape.config.get("max_position_embeddings", 0))


# --- what stays -------------------------------------------------------------------------------


def _weights(shape: Shape, dtype: str) -> int:
    quantised = shape.linear_parameters if dtype in _WEIGHT else 0
    rest = shape.parameters - quantised
    return math.ceil(quantised * _WEIGHT.get(dtype, 0.0) + rest * BYTES[dtype])


def _joined(shape: Shape, recipe: Recipe) -> int:
    """The weights that layers by hand join to one matrix.

    Their old places stay with the process: pages of the file that was mapped, or holes.
    """
    if way(shape, recipe) != "packed":
        return 0
    layers = shape.adapted(("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    return sum(layer.inputs * layer.outputs for layer in layers) * BYTES[recipe.dtype]


def adapter_parameters(shape: Shape, recipe: Recipe) -> int:
    """How many parameters are learned."""
    layers = shape.adapted(recipe.lora_target_modules)
    count = sum(recipe.lora_r * (layer.inputs + layer.outputs) for layer in layers)
    return count + (sum(layer.outputs for layer in layers) if recipe.use_dora else 0)


def _adapter(shape: Shape, recipe: Recipe) -> int:
    """With the copies of A and B in the dtype of the activations."""
    each = _PER_PARAMETER[recipe.optimizer] + BYTES[recipe.dtype]
    return adapter_parameters(shape, recipe) * each


# --- what a pass keeps ------------------------------------------------------------------------


def _learning(shape: Shape, recipe: Recipe, load: Load) -> tuple[float, int]:
    """Bytes kept for the backward pass, and needed besides while it is computed."""
    how, cpu = way(shape, recipe), recipe.device == "cpu"
    layer = kept_bytes(shape, recipe) * load.tokens
    work = _layer_work(shape, recipe, load) + _head(shape, recipe, load)
    if not recipe.gradient_checkpointing:
        return layer * shape.layers * (SLACK[how] if cpu else 1.0), work
    inputs = load.tokens * shape.layers * shape.hidden * BYTES[recipe.dtype]
    again = layer * shape.layers * CHECKPOINTED if cpu else layer
    return inputs + again, work


def kept_bytes(shape: Shape, recipe: Recipe) -> int:
    """What a token keeps in one layer, in the way in which the job computes it."""
    each = packed_bytes if way(shape, recipe) == "packed" else transformers_bytes
    return each(shape, recipe)


def packed_bytes(shape: Shape, recipe: Recipe) -> int:
    """What `training.packed.layer` keeps of a token in one layer.

    x, x' and attention's output; queries, keys and values; gate, silu(gate) and up; in float32
    two factors of normalisation and attention's sum for each head.
    """
    rotated = (shape.heads + shape.kv_heads) * shape.head_size
    wide = (2 if "qwen3" in shape.kind else 1) * rotated + shape.kv_heads * shape.head_size
    numbers = 2 * shape.hidden + shape.heads * shape.head_size + wide + 3 * shape.intermediate
    return numbers * BYTES[recipe.dtype] + 4 * (2 + shape.heads)


def transformers_bytes(shape: Shape, recipe: Recipe) -> int:
    """What torch keeps of a token in one layer of transformers with PEFT's adapters.

    The inputs of both norms in float32; queries, keys, values and attention's output; gate,
    silu(gate) and up; and for each adapter its input in float32 and what A makes of it, with
    dropout its mask too.
    """
    across, size = shape.heads * shape.head_size, BYTES[recipe.dtype]
    kept = 8 * shape.hidden + size * (4 * across + 3 * shape.intermediate)
    adapted = shape.adapted(recipe.lora_target_modules)
    inputs = sum(layer.inputs for layer in adapted) / shape.layers
    if recipe.lora_dropout:
        inputs *= 2
    elif size == 4:  # the same tensor for all adapters that read it
        inputs = min(inputs, 2 * shape.hidden + across + shape.intermediate)
    low = recipe.lora_r * len(adapted) / shape.layers
    return round(kept + 4 * (inputs + low))


def _layer_work(shape: Shape, recipe: Recipe, load: Load) -> int:
    """Gradients inside one layer, and attention's probabilities where products compute them."""
    size = BYTES[recipe.dtype]
    wide = 4 * shape.intermediate + 6 * shape.hidden + 6 * shape.heads * shape.head_size
    square = 0
    if way(shape, recipe) == "packed" and size == 2:
        square = 4 * shape.heads * min(load.longest, SHORT)
    return load.tokens * size * (wide + square)


def _head(shape: Shape, recipe: Recipe, load: Load) -> int:
    """Logits, and gradients of hidden states: in chunks, or of all supervised tokens at once."""
    if shape.family == "classifier":
        return 0
    logits, size = load.supervised * shape.vocabulary, BYTES[recipe.dtype]
    if way(shape, recipe) == "padded":
        return logits * (3 * size + 12)
    return min(logits, HEAD_NUMBERS) * (4 if size == 4 else 6) + load.supervised * shape.hidden * 12
