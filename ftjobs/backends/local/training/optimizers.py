"""How gradients become steps: the optimiser, and its rate at each step."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError


def optimizer_for(
    parameters: Iterable[torch.nn.Parameter], recipe: Recipe
) -> torch.optim.Optimizer:
    """The optimiser of a recipe, at rate 0: the loop sets the rate before each step.

    Raises:
        TrainingError: adamw_8bit, and bitsandbytes is not installed or cannot be loaded.
    """
    build = _BUILDERS[recipe.optimizer]
    return build(parameters, lr=0.0, weight_decay=recipe.weight_decay)


def _adamw_8bit(parameters: Iterable[torch.nn.Parameter], **settings: Any) -> torch.optim.Optimizer:
    """AdamW with moments in blocks of 8 bits (Dettmers et al. 2022)."""
    try:
        from bitsandbytes.optim import AdamW8bit
    except (ImportError, OSError, RuntimeError) as error:  # it loads a library of its own
        raise TrainingError(
            f"optimizer adamw_8bit needs bitsandbytes: {type(error).__name__}",
            code="invalid_hyperparameter",
            param="optimizer",
            hint="pip install 'ftjobs[bitsandbytes]', or choose adamw.",
        ) from None
    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **settings)
    return optimizer


# One kernel for all parameters where torch has one ("fused", "foreach"): adapters are many small
# matrices.  Momentum and smoothing of sgd and rmsprop are those of H2O LLM Studio.
_BUILDERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": functools.partial(torch.optim.AdamW, fused=True),
    "adamw_8bit": _adamw_8bit,
    "adam": functools.partial(torch.optim.Adam, fused=True),
    "adadelta": functools.partial(torch.optim.Adadelta, foreach=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, alpha=0.9, momentum=0.9, foreach=True),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True),
}


# --- the rate ---------------------------------------------------------------------------------


def learning_rate(recipe: Recipe, number: int, total: int) -> float:
    """The rate of step `number` (from 1) of `total`: a linear rise to the peak, then the schedule.

    Step `warmup_steps + 1` is at the peak, and every step's rate is above 0.
    """
    rise = min(1.0, number / (recipe.warmup_steps + 1))
    left = min(1.0, (total - number + 1) / max(1, total - recipe.warmup_steps))
    return recipe.learning_rate * rise * _SCHEDULES[recipe.lr_scheduler_type](left)


_SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    # Half a wave: (1 + cos(pi * (1 - left))) / 2, in a form that never rounds to 0.
    "cosine": lambda left: math.sin(math.pi / 2 * left) ** 2,
    "constant": lambda _left: 1.0,
}
"""The share of the peak, from the share of the steps after the rise that are still to be taken."""
