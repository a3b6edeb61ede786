"""How long a job will take: by the pace of earlier jobs like it, else by what the device can do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from ftjobs.backends.local.fit.memory import kept_bytes
from ftjobs.backends.local.fit.probe import Probe
from ftjobs.backends.local.fit.shape import Shape
from ftjobs.backends.local.store import Store
from ftjobs.backends.local.training.recipe import Recipe

START_SECONDS = 15.0
"""From a job's creation to its first step: imports, weights, the rehearsal."""
PRODUCTS = 0.8
"""Of what the device multiplies, what training's products reach."""
MOVING = {"cpu": 4.8e-9, "cuda": 5e-12}
"""Seconds that one core, or the GPU, spends beside products for each byte that a token keeps:
norms, rotations, copies.  The second is a guess from the bandwidth of a GPU's memory."""
_JOBS, _WARM = 3, 3
"""How many earlier jobs are asked, and how many first steps of each are passed over."""
_SAME = ("dtype", "device", "method", "gradient_checkpointing", "torch_compile", "use_dora")
"""What a job must share with another to be as fast."""


@dataclass(frozen=True)
class Speed:
    """Tokens a second, and what says so."""

    rate: float
    source: str


def earlier(store: Store, model: str, recipe: Recipe) -> Speed | None:
    """The median pace of the newest jobs like this one; None if there was none.

    Raises:
        StoreError: the store cannot be read.
    """
    found = list(itertools.islice(_paces(store, model, recipe), _JOBS))
    if not found:
        return None
    return Speed(median(found), f"{len(found)} earlier job{'' if len(found) == 1 else 's'}")


def _paces(store: Store, model: str, recipe: Recipe) -> Iterator[float]:
    for job in store.jobs():
        stored = store.recipe(job.id) if job.model == model and job.status == "succeeded" else None
        if stored and all(stored["recipe"].get(n) == getattr(recipe, n) for n in _SAME):
            rates = _rates(store, job.id)
            yield from [median(rates[_WARM:] or rates)] if rates else []


def _rates(store: Store, job_id: str) -> list[float]:
    """Tokens a second of each step, but for a validation, which has none."""
    found = (event.data.get("tokens_per_second") for event in store.events(job_id))
    return [float(rate) for rate in found if isinstance(rate, int | float) and rate > 0]


def computed(shape: Shape, recipe: Recipe, probe: Probe) -> Speed | None:
    """What the device should make, from its matrix products a second and what a token moves.

    A token takes 4 operations for each weight, as frozen weights get no gradient.  The reference
    of DPO, and layers that are computed again, make it half as much more.
    """
    rate = probe.flops.get(recipe.dtype) or probe.flops.get(probe.dtype)
    if not rate:
        return None
    products = 4 * shape.parameters / (rate * PRODUCTS)
    cores = 1 if recipe.device == "cuda" else recipe.threads
    moved = kept_bytes(shape, recipe) * shape.layers * MOVING[recipe.device] / cores
    passes = 1 + 0.5 * (recipe.method == "dpo") + 0.5 * recipe.gradient_checkpointing
    return Speed(1 / ((products + moved) * passes), "its matrix products")


def seconds(
    recipe: Recipe, speed: Speed, train: int, valid: float = 0.0, few: float = 0.0
) -> float:
    """How long a job takes that reads so many tokens in an epoch and in a full validation.

    `few` are the tokens of one validation in between.  A validation has no backward pass, which is
    half of the work.
    """
    full = recipe.n_epochs / recipe.evaluation_epochs + recipe.evaluate_before_training
    validated = (valid * full + few * recipe.validations) / 2
    return START_SECONDS + (train * recipe.n_epochs + validated) / speed.rate
