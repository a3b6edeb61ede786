"""Which layers are adapted and how, and that what was trained is what is asked later."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.likelihood import foresee
from ftjobs.backends.local.training.adapter import (
    adapted_layers,
    add_adapter,
    parameters_per_rank,
)
from ftjobs.backends.local.training.loop import Run
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.packed.scorer import PackedScorer
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, examples

PLAIN = dataclasses.replace(RECIPE, lora_dropout=0.0)
LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def adapted(folder: Path, recipe: Recipe, dtype: str = "float32") -> Any:
    return add_adapter(models.load_model(folder, dtype=dtype, device="cpu"), recipe)


def trained_layers(model: Any) -> set[str]:
    """Names of the base's layers that have parameters to train."""
    found = (name for name, value in model.named_parameters() if value.requires_grad)
    return {n.removeprefix("base_model.model.").partition(".lora_")[0] for n in found}


def with_targets(*targets: str, **changes: Any) -> Recipe:
    return dataclasses.replace(PLAIN, lora_target_modules=targets, **changes)


def test_every_linear_layer_but_the_head_is_adapted(tiny_model: Path) -> None:
    found = trained_layers(adapted(tiny_model, PLAIN))
    assert {name.rpartition(".")[2] for name in found} == LAYERS
    assert len(found) == 2 * len(LAYERS)


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (("q_proj",), 2),
        (("q_proj", "v_proj"), 4),
        (("self_attn.q_proj", "mlp.up_proj"), 4),
        (("model.layers.0.self_attn.q_proj",), 1),
        (("layers.1.mlp.down_proj", "k_proj"), 3),
    ],
)
def test_targets_are_named_by_the_end_of_their_names(
    tiny_model: Path, targets: tuple[str, ...], count: int
) -> None:
    found = trained_layers(adapted(tiny_model, with_targets(*targets)))
    assert len(found) == count
    assert all(any(f".{name}".endswith(f".{target}") for target in targets) for name in found)


@pytest.mark.parametrize("target", ["query", "proj", "lm_head", "embed_tokens", "mlp", ".q_proj"])
def test_a_target_that_is_no_linear_layer_is_refused(tiny_model: Path, target: str) -> None:
    with pytest.raises(TrainingError) as caught:
        adapted(tiny_model, with_targets("q_proj", target))
    assert f"no linear layer {target!r}; they have down_proj, gate_proj" in caught.value.message
    assert caught.value.param == "lora_target_modules"


@pytest.mark.parametrize("targets", [(), ("k_proj", "down_proj")])
def test_the_parameters_of_a_rank_are_counted_rightly(
    tiny_model: Path, targets: tuple[str, ...]
) -> None:
    base = models.load_model(tiny_model, dtype="float32", device="cpu")
    counted = parameters_per_rank(adapted_layers(base, targets).values())
    model = add_adapter(base, with_targets(*targets, lora_r=3))
    assert 3 * counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_gpt2_has_linear_layers_of_another_kind() -> None:
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=50))
    base.requires_grad_(False)
    counted = parameters_per_rank(adapted_layers(base, ("c_attn",)).values())
    model = add_adapter(base, with_targets("c_attn", lora_r=2))
    assert len(trained_layers(model)) == 2
    assert 2 * counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


# --- rsLoRA and DoRA --------------------------------------------------------------------------


def scalings(model: Any) -> set[float]:
    return {m.scaling["default"] for m in model.modules() if hasattr(m, "lora_A")}


def test_rslora_scales_by_the_root_of_the_rank(tiny_model: Path) -> None:
    plain, root = (
        adapted(tiny_model, dataclasses.replace(PLAIN, lora_r=16, use_rslora=rs))
        for rs in (False, True)
    )
    assert scalings(plain) == {8 / 16}
    assert scalings(root) == {8 / math.sqrt(16)}


def test_dora_starts_as_the_base_and_trains_magnitudes_in_float32(tiny_model: Path) -> None:
    base = models.load_model(tiny_model, dtype="bfloat16", device="cpu")
    norms = {
        name: layer.get_parameter("weight").float().norm(dim=1)
        for name, layer in adapted_layers(base).items()
    }
    ids = torch.tensor([examples(1)[0].ids])
    before = base(input_ids=ids).logits
    model = add_adapter(base, dataclasses.replace(PLAIN, use_dora=True))
    torch.testing.assert_close(model(input_ids=ids).logits, before, rtol=0.05, atol=0.05)
    magnitudes = {
        name.removeprefix("base_model.model.").partition(".lora_")[0]: value
        for name, value in model.named_parameters()
        if "magnitude" in name
    }
    assert magnitudes.keys() == norms.keys()
    for name, value in magnitudes.items():
        assert value.dtype == torch.float32, name
        assert value.requires_grad
        torch.testing.assert_close(value.detach(), norms[name], rtol=0.01, atol=0.01)


def test_dora_is_the_formula_of_its_paper(tiny_model: Path) -> None:
    """W' = m * (W + s B A) / |W + s B A|, by rows (Liu et al. 2024, equation 5)."""
    model = adapted(tiny_model, with_targets("up_proj", use_dora=True))
    layer = model.get_base_model().model.layers[1].mlp.up_proj
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    change = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    direction = layer.base_layer.weight + layer.scaling["default"] * change
    magnitude = layer.lora_magnitude_vector["default"].weight
    weight = magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    x = torch.randn(3, 64, generator=generator)
    torch.testing.assert_close(layer(x), x @ weight.T, rtol=1e-4, atol=1e-5)


KINDS = [
    {},
    {"use_dora": True},
    {"use_rslora": True, "lora_r": 16},
    {"use_dora": True, "use_rslora": True, "lora_dropout": 0.2, "lora_target_modules": ("v_proj",)},
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_is_what_is_asked(
    tiny_model: Path, tmp_path: Path, kind: dict[str, Any]
) -> None:
    """The checkpoint, opened again, foresees as the model that was trained."""
    recipe = dataclasses.replace(PLAIN, n_epochs=1, **kind)
    run = Run(adapted(tiny_model, recipe), recipe, examples(6))
    list(run)
    facts = {"base_model": str(tiny_model)}
    checkpoints.save_adapter(tmp_path / "ckpt", run.model, models.load_tokenizer(tiny_model), facts)
    engine = Engine(tiny_model, dtype="float32", device="cpu")
    asked = examples(5, seed=3)
    with engine.using(tmp_path / "ckpt") as name:
        found = [likelihood for _, likelihood in foresee(engine, name, asked)]
    base = [likelihood for _, likelihood in foresee(engine, "", asked)]
    targets = sum(tokens.targets for tokens in asked)
    wanted = run.evaluate(asked)
    assert sum(each.loss for each in found) / targets == pytest.approx(wanted.loss, rel=1e-5)
    assert sum(each.loss for each in base) / targets != pytest.approx(wanted.loss, rel=1e-4)


def test_dora_with_dropout_resumes_to_the_bit(tiny_model: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(PLAIN, use_dora=True, lora_dropout=0.3, n_epochs=1)
    whole = Run(adapted(tiny_model, recipe), recipe, examples(12))
    unbroken = [step.train for step in whole]
    first = Run(adapted(tiny_model, recipe), recipe, examples(12))
    broken = [next(iter(first)).train]
    checkpoints.save_state(tmp_path / "state-step-1", first.state(), {})
    second = Run(adapted(tiny_model, recipe), recipe, examples(12))
    state = checkpoints.newest_state(tmp_path)
    assert state is not None
    second.restore(state[0])
    broken += [step.train for step in second]
    assert broken == unbroken
    mine, wanted = second.state(), whole.state()
    assert any("magnitude" in name for name in wanted)
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    ("kind", "fast"),
    [
        ({}, True),
        ({"use_rslora": True}, True),
        ({"lora_target_modules": ("q_proj", "down_proj")}, True),
        ({"use_dora": True}, False),
        ({"lora_dropout": 0.1}, False),
    ],
)
def test_the_fast_way_is_taken_only_where_it_is_right(
    tiny_model: Path, kind: dict[str, Any], fast: bool
) -> None:
    recipe = dataclasses.replace(PLAIN, **kind)
    model = adapted(tiny_model, recipe)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    found = scorer_for(model, recipe)
    assert isinstance(found, PackedScorer) is fast
    model.eval()
    asked = examples(4)
    torch.testing.assert_close(
        found.score(asked).logprobs, Padded(model).score(asked).logprobs, rtol=1e-4, atol=1e-4
    )
