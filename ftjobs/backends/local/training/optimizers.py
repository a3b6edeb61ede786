"""How gradients become steps: the optimiser, and its rate at each step."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ftjobs.backends.local.training.recipe import Recipe


def optimizer_for(
    parameters: Iterable[torch.nn.Parameter], recipe: Recipe
) -> torch.optim.Optimizer:
    """The optimiser of a recipe, at rate 0: the loop sets the rate before each step."""
    return torch.optim.AdamW(parameters, lr=0.0, weight_decay=recipe.weight_decay, fused=True)


def learning_rate(recipe: Recipe, number: int, total: int) -> float:
    """The rate of step `number` (from 1): linear rise, then linear fall that ends above 0."""
    rise = min(1.0, number / (recipe.warmup_steps + 1))
    fall = min(1.0, (total - number + 1) / max(1, total - recipe.warmup_steps))
    return recipe.learning_rate * rise * fall
