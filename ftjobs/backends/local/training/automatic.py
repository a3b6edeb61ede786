"""The rules for what a user leaves to "auto": each gives a number and says why.

Two published rules are followed.  The learning rate is Tinker's `5e-4 * (2000 / hidden_size) ** P`
with P = 0.781 for Llama-like and 0.0775 for Qwen models; rank, batch size and length of training
follow *LoRA Without Regret* (Thinking Machines, 2025): adapt every linear layer, alpha 32, small
batches, at least as many adapter parameters as completion tokens.  The thresholds are ours;
docs/decisions says how far they have been tested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ftjobs.backends.local.training import batches
from ftjobs.errors import TrainingError

if TYPE_CHECKING:
    from ftjobs.backends.local.training.recipe import Facts

_DPO_RATE = 0.04
"""Of the supervised learning rate: what taught a small model 64 short pairs in 112 steps.  At a
tenth it came to repeat what it should prefer.  TRL's own commands for LoRA take a fortieth."""
_RANKS = ((50_000, 8), (1_000_000, 16), (5_000_000, 32))
_MAX_RANK = 128


class Choice(NamedTuple):
    """A number and the rule that gave it; "" if the user did."""

    value: Any
    why: str = ""


def choices(given: Mapping[str, Any], facts: Facts, method: str) -> dict[str, Choice]:
    """The numbers that have a rule, in the order in which they follow from each other.

    `given` are the settings that were chosen.

    Raises:
        TrainingError: they leave no step to take.
    """
    chosen: dict[str, Choice] = {}

    def choose(name: str, rule: Callable[[], Choice]) -> Any:
        chosen[name] = Choice(given[name]) if name in given else rule()
        return chosen[name].value

    accumulated = given.get("gradient_accumulation_steps", 1)
    batch = choose("batch_size", lambda: _batch_size(facts.examples, accumulated)) * accumulated
    epochs = choose("n_epochs", lambda: _n_epochs(facts.examples, batch))
    steps = epochs * _steps_per_epoch(facts.examples, batch, given.get("drop_last_batch", False))
    choose("learning_rate", lambda: _learning_rate(facts, steps, method))
    chosen["learning_rate"] = _times(chosen["learning_rate"], given)
    choose("lora_r", lambda: _rank(facts))
    chosen["warmup_steps"] = _warmup_steps(steps, given.get("warmup_ratio"))
    return chosen


def _steps_per_epoch(examples: int, batch: int, drop_last: bool) -> int:
    steps = batches.steps_per_epoch(examples, batch, drop_last=drop_last)
    if not steps:
        raise TrainingError(
            f"drop_last_batch leaves nothing to train: a step takes {batch} examples "
            f"and there are {examples}",
            code="invalid_hyperparameter",
            param="drop_last_batch",
        )
    return steps


def _batch_size(examples: int, accumulated: int) -> Choice:
    """One five-hundredth of the examples, 1 to 32, and at least 4 from 64 examples on."""
    size = max(4 if examples >= 64 else 1, min(32, round(examples / 500)))
    why = f"{size} of {examples:,} examples in a step"
    if accumulated > 1:
        why += f", divided by gradient_accumulation_steps {accumulated}"
    return Choice(max(1, size // accumulated), why)


def _n_epochs(examples: int, batch: int) -> Choice:
    """Enough passes for about 100 steps when examples are few, one when they are many."""
    if examples < 1000:
        epochs = min(10, max(3, math.ceil(100 * batch / examples)))
        return Choice(epochs, "about 100 steps, in 3 to 10 passes")
    if examples < 3000:
        return Choice(3, "1,000 to 2,999 examples")
    if examples < 10_000:
        return Choice(2, "3,000 to 9,999 examples")
    return Choice(1, "10,000 examples or more")


def _learning_rate(facts: Facts, steps: int, method: str) -> Choice:
    power: float = 0.0775 if facts.family.startswith("qwen") else 0.781
    rate: float = 5e-4 * (2000 / facts.hidden_size) ** power
    why = f"5e-4 * (2000 / {facts.hidden_size}) ** {power}, kept within 1e-4 and 1e-3"
    rate = min(max(rate, 1e-4), 1e-3)
    if steps < 100:  # short runs need more: LoRA Without Regret
        rate, why = rate * 1.5, f"{why}, times 1.5 for fewer than 100 steps"
    if method == "dpo":
        rate, why = rate * _DPO_RATE, f"{why}, times {_DPO_RATE} for DPO"
    return Choice(rate, why)


def _times(rate: Choice, given: Mapping[str, Any]) -> Choice:
    factor = given.get("learning_rate_multiplier", 1.0)
    more = f", times learning_rate_multiplier {factor:g}" if rate.why and factor != 1 else ""
    return Choice(rate.value * factor, rate.why + more)


def _rank(facts: Facts) -> Choice:
    start = next((rank for limit, rank in _RANKS if facts.targets < limit), 64)
    rank, why = start, f"{facts.targets:,} supervised tokens"
    while rank < _MAX_RANK and rank * facts.adapter_parameters_per_rank < facts.targets:
        rank *= 2
    return Choice(rank, why if rank == start else f"{why}, more than an adapter of r={start} has")


def _warmup_steps(steps: int, ratio: float | None) -> Choice:
    if ratio is not None:
        return Choice(min(steps - 1, round(ratio * steps)))
    return Choice(min(10, round(0.05 * steps)), f"5 % of {steps:,} steps, at most 10")
