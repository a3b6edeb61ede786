"""The training loop.  It knows nothing of jobs, stores or files.

A `Run` is iterated: each item is one optimiser step that has been taken.  Between items its
`state` can be saved; a new `Run` that is given this state goes on as if it had never stopped, bit
for bit on a CPU.  The caller decides what to record, when to save, and when to stop.

What makes that exact: the examples of a step are a pure function of (seed, step), the learning
rate and the dropout seed are functions of the step, and the only other state is the adapter and
the optimiser's two moments.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.objectives import Item, Objective, objective_for
from ftjobs.backends.local.training.optimizers import learning_rate, optimizer_for
from ftjobs.backends.local.training.processes import Alone
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError


@dataclass(frozen=True)
class Score:
    """Mean loss per supervised token (nats) and the share of tokens predicted (0 to 1).

    `others` are means of what else the objective reports, by the name of the metric.
    """

    loss: float
    accuracy: float
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One optimiser step that has been taken, with what was measured in it.

    `train` is measured before the step's update, `valid` (a few examples) and `full_valid` (all
    of them) after it.  `tokens` were read in `seconds`, validation excluded.
    """

    number: int
    total: int
    epoch: int
    ends_epoch: bool
    train: Score
    valid: Score | None
    full_valid: Score | None
    tokens: int
    seconds: float


class Run:
    """A training run over rendered examples.

    Iterating takes the steps after `self.done`.  Raises TrainingError where it cannot go on: a
    loss that is not finite, an adapter that gets no gradient, no memory for a single example.
    """

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        train: Sequence[Item],
        valid: Sequence[Item] = (),
        *,
        objective: Objective[Any] | None = None,
        processes: Alone | None = None,
    ) -> None:
        self.model, self.recipe = model, recipe
        self.train, self.valid = train, valid
        self.objective = objective or objective_for(model, recipe)
        self.processes = processes or Alone()
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer_for(self.parameters.values(), recipe)
        self.per_epoch = batches.steps_per_epoch(len(train), recipe.batch_size)
        self.total = self.per_epoch * recipe.n_epochs
        self.micro_batch_tokens = recipe.micro_batch_tokens
        self.done = 0

    def __iter__(self) -> Iterator[Step]:
        while self.done < self.total and self.processes.turn():
            yield self._step(self.done + 1)

    def _step(self, number: int) -> Step:
        began = time.monotonic()
        recipe = self.recipe
        epoch, indices = batches.step(
            len(self.train), batch_size=recipe.batch_size, seed=recipe.seed, number=number
        )
        chosen = [self.train[index] for index in indices]
        train = self._measure(chosen, number, learn=True)
        self._update(number)
        self.done = number
        seconds = time.monotonic() - began
        ends_epoch = number % self.per_epoch == 0
        full = self.evaluate(self.valid) if self.valid and ends_epoch else None
        return Step(
            number=number,
            total=self.total,
            epoch=epoch,
            ends_epoch=ends_epoch,
            train=train,
            valid=self.evaluate(self._sample(number)) if self._validates(number) else None,
            full_valid=full,
            tokens=sum(item.size for item in chosen),
            seconds=seconds,
        )

    @torch.no_grad()
    def evaluate(self, items: Sequence[Item]) -> Score:
        """The mean over `items` with the adapter as it stands."""
        return self._measure(items, self.done, learn=False)

    def _measure(self, items: Sequence[Item], number: int, *, learn: bool) -> Score:
        """The mean over `items`; with `learn`, its gradient is left in the parameters.

        Where memory runs out, it begins again with half the tokens at once: the same sums, so the
        same step but for rounding.
        """
        while True:
            try:
                score = self._add_up(items, number, learn=learn)
            except RuntimeError as error:
                self._halve(items, error)
                continue
            if not math.isfinite(score.loss):
                kind = "training" if learn else "validation"
                raise TrainingError(
                    f"the {kind} loss became {score.loss} at step {number}",
                    code="loss_not_finite",
                    hint="A lower learning_rate_multiplier usually helps.",
                )
            return score

    def _add_up(self, items: Sequence[Item], number: int, *, learn: bool) -> Score:
        self.model.train(learn)
        if learn:
            self.optimizer.zero_grad(set_to_none=True)
        weight = sum(item.weight for item in items)
        sums = Counter[str]({"loss": 0.0, "hits": 0})
        with self.processes.computing():
            for part, batch in self.processes.share(list(self._micro_batches(items))):
                torch.manual_seed(_seed(self.recipe.seed, number, part))  # dropout
                measure = self.objective.measure(batch)
                if learn:
                    torch.autograd.backward(measure.loss / weight)
                sums.update({"loss": measure.loss.item(), "hits": measure.hits, **measure.others})
        if learn:
            self.processes.add_gradients(self.parameters.values())
        means = {name: total / weight for name, total in self.processes.add(sums).items()}
        return Score(means.pop("loss"), means.pop("hits"), means)

    def _halve(self, items: Sequence[Item], error: RuntimeError) -> None:
        """Compute half as much at once from now on, if that is what `error` wants and can help."""
        no_memory = isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)
        largest = max(item.size for item in items)
        if not no_memory:
            raise error
        if self.micro_batch_tokens <= largest:
            raise TrainingError(
                f"there is no memory for an example of {largest:,} tokens",
                code="out_of_memory",
                hint="Shorten the longest examples, or choose a smaller base model.",
            ) from None
        self.micro_batch_tokens = max(largest, self.micro_batch_tokens // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _update(self, number: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, number, self.total)
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.recipe.max_grad_norm, error_if_nonfinite=False
        ).item()
        if not math.isfinite(norm) or (number == 1 and norm == 0):
            raise TrainingError(
                f"the gradient norm is {norm} at step {number}", code="gradient_not_finite"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _validates(self, number: int) -> bool:
        every = max(1, self.total // self.recipe.validations)
        return bool(self.valid) and (number % every == 0 or number == self.total)

    def _sample(self, number: int) -> list[Item]:
        """A few validation examples, others each time, the same ones on every run."""
        count = min(self.recipe.validation_examples, len(self.valid))
        start = (number * count) % len(self.valid)
        return [self.valid[(start + offset) % len(self.valid)] for offset in range(count)]

    def _micro_batches(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        groups = batches.micro_batches(
            [item.size for item in items],
            budget=self.micro_batch_tokens,
            pads=self.objective.pads,
        )
        for group in groups:
            yield [items[position] for position in group]

    def require_finite(self) -> None:
        """TrainingError if the last update has left the numbers."""
        if not all(bool(torch.isfinite(value).all()) for value in self.parameters.values()):
            raise TrainingError(
                f"the adapter's weights are not finite after step {self.done}",
                code="weights_not_finite",
                hint="A lower learning_rate_multiplier usually helps.",
            )

    def state(self) -> dict[str, torch.Tensor]:
        """Adapter and optimiser moments by name, with the number of steps taken."""
        tensors = {"done": torch.tensor(self.done)}
        for name, parameter in self.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a `state`.  KeyError if it is of another model or recipe."""
        self.done = int(tensors["done"])
        for name, parameter in self.parameters.items():
            parameter.copy_(tensors[f"weight.{name}"])
            if self.done:
                self.optimizer.state[parameter] = {
                    key: tensors[f"{key}.{name}"].clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                }


def _seed(seed: int, step: int, part: int) -> int:
    """Of a micro-batch's dropout, whichever process computes it."""
    return (seed * 1_000_003 + step) * 4_099 + part
