"""How a model in training is computed: activations kept or computed again, eager or compiled.

Neither changes what is computed but for rounding.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from ftjobs.errors import TrainingError

if TYPE_CHECKING:
    from ftjobs.backends.local.training.recipe import Recipe


def arrange(model: Any, recipe: Recipe) -> Any:
    """The same adapted model, computed as the recipe wants it.

    Raises:
        TrainingError: it cannot be compiled here, or not computed again.
    """
    if recipe.gradient_checkpointing:
        _checkpoint(model)
    if recipe.torch_compile:
        _compile(model)
    return model


def _checkpoint(model: Any) -> None:
    """Keep one activation a layer, and compute the others again in the backward pass.

    Not the reentrant way, which gives no gradient where a layer's input has none: with LoRA, that
    is the first layer's, and so all of them.
    """
    if not model.supports_gradient_checkpointing:
        raise TrainingError(
            f"gradient_checkpointing: {model.config.model_type} models cannot",
            code="invalid_hyperparameter",
            param="gradient_checkpointing",
        )
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _compile(model: Any) -> None:
    """Compile each block in place: one compilation serves them all, and names stay as they are."""
    if missing := missing_compiler(model.device.type):
        raise TrainingError(
            f"torch_compile needs {missing}, which is not here",
            code="invalid_hyperparameter",
            param="torch_compile",
            hint="Install it, or train without torch_compile.",
        )
    found = list(blocks(model))
    for block in found or [model]:
        block.compile(dynamic=True)


def blocks(model: Any) -> Iterator[torch.nn.Module]:
    """The repeated parts of a model, such as its decoder layers, as transformers names them."""
    names = set(getattr(model.get_base_model(), "_no_split_modules", None) or ())
    return (module for module in model.modules() if type(module).__name__ in names)


def missing_compiler(device: str) -> str:
    """What torch.compile lacks here; "" if nothing."""
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton"
    own = os.environ.get("CXX" if device == "cpu" else "CC")
    names = ("g++", "clang++", "c++") if device == "cpu" else ("gcc", "clang", "cc")
    return "" if any(shutil.which(name) for name in filter(None, (own, *names))) else names[0]
