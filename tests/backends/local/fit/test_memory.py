"""What the formulas count is what is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.fit import memory
from ftjobs.backends.local.fit.memory import Load, needed, way
from ftjobs.backends.local.fit.shape import read_shape
from ftjobs.backends.local.fit.size import known_shape
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.joined import open_joined
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.packed import attention, head, scorer
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from tests.backends.local.fit.test_shape import small

RECIPE = Recipe(
    n_epochs=1, batch_size=4, learning_rate=1e-3, warmup_steps=0, lora_r=4, lora_alpha=8,
    lora_dropout=0.0, seed=1, dtype="float32", device="cpu", threads=1,
)  # fmt: skip
SHAPE = known_shape(64, 2, 4, 2, 16, 128, 264)


def adapted(kind: str, folder: Path, recipe: Recipe) -> Any:
    small(kind, folder)
    return add_adapter(models.load_model(folder, dtype=recipe.dtype, device="cpu"), recipe)


def test_constants_are_those_of_training() -> None:
    assert memory.PACKED == scorer.FAMILIES
    assert (memory.HEAD_NUMBERS, memory.SHORT) == (head.HEAD_NUMBERS, attention.SHORT)


def kept_by(model: Any, score: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a forward pass, weights and their copies left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept.setdefault(storage.data_ptr(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        score()
    return sum(one.nbytes() for place, one in kept.items() if place not in weights)


LENGTH = 4 * scorer.ROUND  # nothing is filled up
LONG = Tokens((*(i % 64 for i in range(LENGTH)), 1), (False,) * LENGTH + (True,))


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_layer_by_hand_keeps_what_the_formula_counts(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, dtype=dtype)
    model = adapted(kind, tmp_path, recipe)
    packed = scorer.open_packed(model)
    assert packed is not None
    kept = kept_by(model, lambda: packed.score([LONG]))
    shape = read_shape(tmp_path)
    wanted = memory.packed_bytes(shape, recipe) * LENGTH * shape.layers
    # Besides, the last norm and the head keep a few hidden states.
    assert wanted <= kept <= wanted + 8 * LENGTH * shape.hidden * 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_a_layer_of_transformers_keeps_about_what_the_formula_counts(
    dropout: float, dtype: str, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, dtype=dtype, lora_dropout=dropout)
    model = adapted("llama", tmp_path, recipe)
    joined = open_joined(model)
    assert joined is not None
    model.train()
    kept = kept_by(model, lambda: joined.score([LONG]))
    shape = read_shape(tmp_path)
    wanted = memory.transformers_bytes(shape, recipe) * LENGTH * shape.layers
    assert kept == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("llama", {}),
        ("qwen3", {}),
        ("gpt2", {}),
        ("t5", {}),
        ("llama", {"lora_dropout": 0.1}),
        ("llama", {"use_dora": True}),
        ("llama", {"gradient_checkpointing": True}),
        ("llama", {"lora_target_modules": ("q_proj", "up_proj")}),
        ("llama", {"torch_compile": True}),
    ],
)
def test_the_way_is_the_one_that_training_takes(
    kind: str, change: dict[str, Any], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, **change)
    model = adapted(kind, tmp_path, recipe)
    shape = read_shape(tmp_path)
    names = {"PackedScorer": "packed", "Joined": "joined"}
    assert way(shape, recipe) == names.get(type(scorer_for(model, recipe)).__name__, "padded")
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert memory.adapter_parameters(shape, recipe) == learned


tokens = st.integers(1, 5000)


@given(tokens, tokens, st.sampled_from(["float32", "bfloat16"]), st.booleans())
def test_more_tokens_need_no_less(few: int, more: int, dtype: str, again: bool) -> None:
    few, more = sorted((few, more))
    recipe = replace(RECIPE, dtype=dtype, gradient_checkpointing=again)
    least, most = (needed(SHAPE, recipe, Load(n, n, n)).total for n in (few, more))
    assert least <= most


def test_what_saves_memory_needs_less() -> None:
    large, load = known_shape(4096, 32, 32, 8, 128, 14_336, 128_256), Load(4000, 4000, 2000)
    wide = replace(RECIPE, lora_r=64, device="cuda", dtype="bfloat16")
    whole = needed(large, wide, load).total
    changes: list[dict[str, Any]] = [
        {"gradient_checkpointing": True},
        {"lora_r": 8},
        {"optimizer": "sgd"},
        {"dtype": "int8"},
        {"dtype": "int4"},
    ]
    assert all(needed(large, replace(wide, **change), load).total < whole for change in changes)
    assert needed(large, replace(wide, dtype="float32"), load).total > whole


def test_eight_billion_weights_take_two_bytes_each() -> None:
    large = known_shape(4096, 32, 32, 8, 128, 14_336, 128_256)
    assert large.parameters == pytest.approx(8.03e9, rel=0.01)
    need = needed(large, replace(RECIPE, dtype="bfloat16", device="cuda"), Load(1, 1, 1))
    assert need.weights == 2 * large.parameters


def test_a_long_validation_example_counts() -> None:
    short, long = Load(100, 100, 50), Load(100_000, 100_000, 50)
    assert needed(SHAPE, RECIPE, short, long).total > needed(SHAPE, RECIPE, short, short).total


def test_the_logits_of_a_chunked_head_are_bounded() -> None:
    wide = replace(SHAPE, vocabulary=250_000)
    few, many = (needed(wide, RECIPE, Load(2000, 500, n)).work for n in (100, 2000))
    assert many - few < 2000 * SHAPE.hidden * 12 + 1
