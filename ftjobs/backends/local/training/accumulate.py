"""Means over examples and their gradients, in micro-batches for which there is memory.

However the examples are cut, and whoever computes a part, the sums are the same but for rounding:
they are divided once, by the weight of all examples together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ftjobs.backends.local.training import batches, guards
from ftjobs.backends.local.training.objectives import Item, Objective
from ftjobs.backends.local.training.precision import LossScale
from ftjobs.backends.local.training.processes import Alone
from ftjobs.errors import TrainingError


@dataclass(frozen=True)
class Score:
    """Mean loss per supervised token (nats) and the share of tokens predicted (0 to 1).

    `others` are means of what else the objective reports, by the name of the metric.
    """

    loss: float
    accuracy: float
    others: Mapping[str, float] = field(default_factory=dict)


class Accumulator:
    """Measures examples with a model in training.  `tokens` bounds what is computed at once."""

    def __init__(
        self,
        model: Any,
        parameters: Sequence[torch.nn.Parameter],
        objective: Objective[Any],
        processes: Alone,
        *,
        tokens: int,
        seed: int,
        dtype: str = "float32",
    ) -> None:
        self.model, self.parameters, self.objective = model, parameters, objective
        self.processes, self.tokens, self.seed = processes, tokens, seed
        self.scale = LossScale(dtype)

    def measure(self, items: Sequence[Item], number: int, *, learn: bool) -> Score:
        """The mean over `items` at step `number`; with `learn`, its gradient stays in `grad`.

        Where memory runs out, it begins again with half as much at once.

        Raises:
            TrainingError: the loss is not finite, or there is no memory for a single example.
        """
        weight = sum(item.weight for item in items)
        sums = self._gradients(items, number, weight) if learn else self._sums_of(items, number)
        means = {name: total / weight for name, total in self.processes.add(sums).items()}
        score = Score(means.pop("loss"), means.pop("hits"), means)
        if not math.isfinite(score.loss):
            kind = "training" if learn else "validation"
            raise TrainingError(
                f"the {kind} loss became {score.loss} at step {number}",
                code="loss_not_finite",
                hint="A lower learning_rate_multiplier usually helps.",
            )
        return score

    def _sums_of(self, items: Sequence[Item], number: int, weight: int | None = None) -> Sums:
        while (sums := self._sums(items, number, weight)) is None:
            self._halve(items)
        return sums

    def _gradients(self, items: Sequence[Item], number: int, weight: int) -> Sums:
        """As `_sums_of`, with the gradients of all processes; again where float16 overflows."""
        while True:
            sums = self._sums_of(items, number, weight)
            self.processes.add_gradients(self.parameters)
            if self.scale.divide(self.parameters):
                return sums

    def rehearse(self, steps: Callable[[], Iterable[Sequence[Item]]], *, learn: bool) -> None:
        """Compute the largest micro-batch of all `steps()`, and forget what it taught.

        Memory runs out here or, most likely, not at all.  It changes nothing: gradients are
        dropped, and every micro-batch seeds the random numbers that it draws.
        """
        weight = 1 if learn else None
        # As many as there are processes: each rehearses one.
        while self._sums((worst := self._worst(steps())) * self.processes.size, 0, weight) is None:
            self._halve(worst)  # and then another one may be the largest
        self.forget()

    def _worst(self, steps: Iterable[Sequence[Item]]) -> list[Item]:
        """Of the micro-batches with most tokens, one with the longest example."""
        groups = (group for items in steps for group in self._micro_batches(items))
        return max(groups, key=lambda group: (self._cost(group), group[0].size))

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def _sums(self, items: Sequence[Item], number: int, weight: int | None) -> Sums | None:
        """Sums over this process's part of `items`; None where memory ran out, in any process.

        With a `weight`, gradients of the sums divided by it are left in the parameters.
        """
        self.model.train(weight is not None)
        sums = Counter[str]({"loss": 0.0, "hits": 0})
        try:
            with self.processes.computing():
                if weight is not None:
                    self.forget()
                for part, batch in self.processes.share(self._micro_batches(items)):
                    torch.manual_seed(_seed(self.seed, number, part))  # dropout
                    sums.update(self._sum(batch, weight))
        except (RuntimeError, MemoryError) as error:
            if not guards.is_no_memory(error):
                raise
            return None
        return sums

    def _sum(self, batch: Sequence[Item], weight: int | None) -> dict[str, float]:
        measure = self.objective.measure(batch)
        if weight is not None:
            torch.autograd.backward(measure.loss / (weight / self.scale.factor))
        return {"loss": measure.loss.item(), "hits": measure.hits, **measure.others}

    def _micro_batches(self, items: Sequence[Item]) -> list[list[Item]]:
        sizes = [item.size for item in items]
        groups = batches.micro_batches(sizes, budget=self.tokens, pads=self.objective.pads)
        return [[items[position] for position in group] for group in groups]

    def _cost(self, group: Sequence[Item]) -> int:
        """Tokens that are computed for a micro-batch, padding included."""
        sizes = [item.size for item in group]
        return max(sizes) * len(sizes) if self.objective.pads else sum(sizes)

    def _halve(self, items: Sequence[Item]) -> None:
        """Compute half as much at once from now on.

        TrainingError if the largest example is all that was computed at once.
        """
        longest = max(item.size for item in items)
        computed = max(map(self._cost, self._micro_batches(items)))
        if computed <= longest:
            raise guards.out_of_memory(longest)
        self.tokens = max(longest, computed // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


Sums = Counter[str]


def _seed(seed: int, step: int, part: int) -> int:
    """Of a micro-batch's dropout, whichever process computes it."""
    return (seed * 1_000_003 + step) * 4_099 + part
