"""When a run validates in full, and what follows from what it finds."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import torch

METRICS = ("loss", "perplexity", "bleu")
"""What a run can go by."""
_LARGER_IS_BETTER = frozenset({"bleu"})


def is_due(number: int, *, every: float, total: int) -> bool:
    """Whether a full validation follows step `number` of `total`, with one in `every` steps.

    The k-th follows the step that is nearest to k × `every`; one follows the last step.  The same
    arguments always give the same answer, so a resumed run validates where an unbroken one does.
    """
    if number == total or every <= 1:
        return True
    if every > total:
        return False
    near = int(number / every)
    return any(math.floor(k * every + 0.5) == number for k in (near, near + 1) if k)


def perplexity(loss: float) -> float:
    """exp(loss), of a mean loss in nats per token; of a loss above 700, that of 700."""
    return math.exp(min(loss, 700.0))


@dataclass
class History:
    """The full validations of a run: by step, the value of the metric that decides.

    Step 0 is the base model before training: something to compare with, but no checkpoint.
    """

    metric: str
    values: dict[int, float] = field(default_factory=dict)

    def best(self, among: Collection[int] | None = None) -> int | None:
        """The step of the best value, the earlier one of equals; None before the first.

        Only steps `among` these are looked at, where they are given.
        """
        steps = [s for s in self.values if s and (among is None or s in among)]
        return min(steps, key=lambda step: (self._cost(step), step), default=None)

    @property
    def stale(self) -> int:
        """How many validations there were since the best one."""
        best = self.best()
        return 0 if best is None else sum(step > best for step in self.values)

    @property
    def count(self) -> int:
        """How many there were, that of the base model apart."""
        return sum(step > 0 for step in self.values)

    @property
    def beats_base(self) -> bool | None:
        """Whether the best is better than the base model; None where that was not measured."""
        best = self.best()
        return None if best is None or 0 not in self.values else self._cost(best) < self._cost(0)

    def of(self, step: int) -> str:
        """The metric and its value after a step, for a line of text."""
        return f"full validation {self.metric} {self.values[step]:.4g}"

    def tensor(self) -> torch.Tensor:
        """For a state: float64, shape (validations, 2), of steps and values."""
        return torch.tensor(list(self.values.items()), dtype=torch.float64).reshape(-1, 2)

    def restore(self, tensor: torch.Tensor) -> None:
        """Take over what `tensor` gave, to the bit."""
        self.values = {int(step): float(value) for step, value in tensor.tolist()}

    def _cost(self, step: int) -> float:
        value = self.values[step]
        return -value if self.metric in _LARGER_IS_BETTER else value
