"""The adapter that is trained: which layers get one, and of what kind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.pytorch_utils import Conv1D

from ftjobs.backends.local.heads import lora_settings
from ftjobs.backends.local.models import quietly
from ftjobs.errors import TrainingError

if TYPE_CHECKING:
    from ftjobs.backends.local.training.recipe import Recipe


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """LoRA (Hu et al. 2021) on linear layers, in float32, seeded; the head never gets one.

    B starts at zero, so the adapted model equals its base until the first step.  The recipe may
    ask for rsLoRA (Kalajdzievski 2023: scaled by alpha / sqrt(r)) and DoRA (Liu et al. 2024: each
    row's magnitude is learned too).

    Raises:
        TrainingError: the recipe names a layer that the model does not have.
    """
    from peft import LoraConfig, get_peft_model

    targets = recipe.lora_target_modules
    adapted_layers(model, targets)  # PEFT passes over a name that nothing has
    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        use_rslora=recipe.use_rslora,
        use_dora=recipe.use_dora,
        target_modules=list(targets) or "all-linear",
        **lora_settings(model),
    )
    torch.manual_seed(recipe.seed)
    with quietly():
        return get_peft_model(model, config)


def adapted_layers(model: Any, targets: Sequence[str] = ()) -> dict[str, torch.nn.Module]:
    """The linear layers of a base model that `targets` name; all but the head if there are none.

    A target is a name's end after a dot: "q_proj", or "layers.0.self_attn.q_proj" for one layer.

    Raises:
        TrainingError: a target names no linear layer; the message lists those that there are.
    """
    head = _head(model)
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }
    for target in targets:
        if not any(_names(target, name) for name in linear):
            raise TrainingError(
                f"lora_target_modules: {model.config.model_type} models have no linear layer "
                f"{target!r}; they have {', '.join(_ends(linear))}",
                code="invalid_hyperparameter",
                param="lora_target_modules",
            )
    if not targets:
        return linear
    return {n: m for n, m in linear.items() if any(_names(target, n) for target in targets)}


def parameters_per_rank(layers: Iterable[Any]) -> int:
    """How many parameters LoRA of rank 1 has on these layers: their inputs and outputs."""
    return sum(
        layer.in_features + layer.out_features  # a quantised weight has another shape
        if isinstance(layer, torch.nn.Linear)
        else sum(layer.weight.shape)
        for layer in layers
    )


def _head(model: Any) -> Any:
    """What turns the last hidden states into scores: over the vocabulary, or over labels."""
    heads = (getattr(model, name, None) for name in ("classifier", "score"))
    return model.get_output_embeddings() or next(filter(None, heads), None)


def _names(target: str, name: str) -> bool:
    """Whether PEFT takes `target` for the layer `name`."""
    return name == target or name.endswith(f".{target}")


def _ends(names: Iterable[str]) -> list[str]:
    return sorted({name.rpartition(".")[2] for name in names})
