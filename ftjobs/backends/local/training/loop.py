"""The training loop.  It knows nothing of jobs, stores or files.

A `Run` is iterated: each item is one optimiser step that has been taken.  Between items its
`state` can be saved; a new `Run` that is given this state goes on as if it had never stopped, bit
for bit on a CPU.  The caller decides what to record, when to save, and when to stop.

What makes that exact: the examples of a step are a pure function of (seed, step), the learning
rate and the dropout seed are functions of the step, and the only other state is the adapter, what
the optimiser keeps, what full validations have found, and how much is computed at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ftjobs.backends.local.training import batches, guards, state
from ftjobs.backends.local.training.accumulate import Accumulator, Score
from ftjobs.backends.local.training.bleu import Bleu, Exam
from ftjobs.backends.local.training.evaluation import History, is_due, perplexity
from ftjobs.backends.local.training.hiding import hide
from ftjobs.backends.local.training.objectives import Item, Objective, objective_for
from ftjobs.backends.local.training.optimizers import learning_rate, optimizer_for
from ftjobs.backends.local.training.processes import Alone
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.writing import Greedy
from ftjobs.errors import TrainingError


@dataclass(frozen=True)
class Step:
    """One optimiser step that has been taken, with what was measured in it.

    `train` is measured before the step's update, `valid` (a few examples) and `full_valid` (all
    of them) after it.  `tokens` were read in `seconds`, validation excluded.  `total` is how many
    steps there will be, as far as is known: with early stopping it may turn out less.

    Step 0 is none: it carries the validation of the base model, and `train` is None.
    """

    number: int
    total: int
    epoch: int
    ends_epoch: bool
    train: Score | None
    valid: Score | None
    full_valid: Score | None
    tokens: int
    seconds: float

    @property
    def is_last(self) -> bool:
        """Whether the run has ended with it."""
        return self.number == self.total


class Run:
    """A training run over rendered examples.

    Iterating takes the steps after `self.done`.  Raises TrainingError where it cannot go on: a
    loss that is not finite, an adapter that gets no gradient, no memory for a single example.

    `exam` is what is asked where the recipe's metric is BLEU.
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
        exam: Exam | None = None,
    ) -> None:
        self.model, self.recipe = model, recipe
        self.train, self.valid = train, valid
        self.processes = processes or Alone()
        self.bleu = Bleu(Greedy(model, exam.letters), exam.questions) if exam else None
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.accumulator = Accumulator(
            model,
            list(self.parameters.values()),
            objective or objective_for(model, recipe),
            self.processes,
            tokens=recipe.micro_batch_tokens,
            seed=recipe.seed,
            dtype=recipe.dtype,
        )
        self.optimizer = optimizer_for(self.parameters.values(), recipe)
        self.per_epoch = batches.steps_per_epoch(
            len(train), recipe.examples_per_step, drop_last=recipe.drop_last_batch
        )
        self.total = self.per_epoch * recipe.n_epochs
        self.history = History(recipe.evaluation_metric)
        self.done = 0

    def __iter__(self) -> Iterator[Step]:
        rehearsed = False
        if self._wants_base() and self.processes.turn():
            yield self._base()
        while not self.ended and self.processes.turn():
            if not rehearsed:
                self._rehearse()
                rehearsed = True
            yield self._step(self.done + 1)

    @property
    def ended(self) -> bool:
        """Whether no step is left to take."""
        return self.done >= self.total or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether so many validations brought nothing better that the rest is not worth it."""
        patience = self.recipe.early_stopping_patience
        return bool(patience) and self.history.stale >= patience and self.done < self.total

    @property
    def trained_tokens(self) -> int:
        """Tokens of the examples of all steps that were taken."""
        steps = range(1, self.done + 1)
        return sum(self.train[i].size for number in steps for i in self._places(number)[1])

    def _step(self, number: int) -> Step:
        began = time.monotonic()
        epoch, chosen = self._chosen(number)
        train = self.accumulator.measure(chosen, number, learn=True)
        self._update(number)
        self.done = number
        seconds = time.monotonic() - began
        full = self.validate() if self._validates_fully(number) else None
        return Step(
            number=number,
            total=number if self.ended else self.total,
            epoch=epoch,
            ends_epoch=number % self.per_epoch == 0,
            train=train,
            valid=self.evaluate(self._sample(number)) if self._validates(number) else None,
            full_valid=full,
            tokens=sum(item.size for item in chosen),
            seconds=seconds,
        )

    def _chosen(self, number: int) -> tuple[int, list[Item]]:
        """The epoch of a step, and its examples as it reads them."""
        epoch, places = self._places(number)
        recipe = self.recipe
        return epoch, [hide(self.train[i], recipe, number=number, index=i) for i in places]

    def _places(self, number: int) -> tuple[int, tuple[int, ...]]:
        """The epoch of a step, and where its examples are in `train`."""
        return batches.step(
            len(self.train),
            batch_size=self.recipe.examples_per_step,
            seed=self.recipe.seed,
            number=number,
            drop_last=self.recipe.drop_last_batch,
        )

    def _rehearse(self) -> None:
        """Run out of memory now, if ever: with the largest parts of all that is still to come."""
        self.accumulator.rehearse(self._steps_left, learn=True)
        if self.valid:
            with torch.no_grad():
                self.accumulator.rehearse(lambda: [self.valid], learn=False)

    def _steps_left(self) -> Iterator[list[Item]]:
        for number in range(self.done + 1, self.total + 1):
            yield [self.train[place] for place in self._places(number)[1]]

    # --- validation --------------------------------------------------------------------------

    def _wants_base(self) -> bool:
        wanted = self.recipe.evaluate_before_training and bool(self.valid)
        return wanted and not self.done and not self.history.values

    def _base(self) -> Step:
        full = self.validate()
        return Step(0, self.total, 0, False, None, None, full, 0, 0.0)

    def validate(self) -> Score:
        """The mean over all validation examples, kept in `history` as that of the present step.

        Perplexity or BLEU, where the recipe goes by it, is among its `others`.
        """
        score = self.evaluate(self.valid)
        metric = self.recipe.evaluation_metric
        more = {}
        if metric == "perplexity":
            more[metric] = perplexity(score.loss)
        elif metric == "bleu":
            more[metric] = self._mean_bleu()
        self.history.values[self.done] = more.get(metric, score.loss)
        return replace(score, others={**score.others, **more})

    def _mean_bleu(self) -> float:
        if self.bleu is None:
            raise ValueError("a run that goes by BLEU needs an exam")
        with self.processes.computing():
            parts = self.processes.share([[question] for question in self.bleu.questions])
            scores = self.bleu.scores([question for _, part in parts for question in part])
        return self.processes.add({"bleu": sum(scores)})["bleu"] / len(self.bleu.questions)

    @torch.no_grad()
    def evaluate(self, items: Sequence[Item]) -> Score:
        """The mean over `items` with the adapter as it stands."""
        return self.accumulator.measure(items, self.done, learn=False)

    def _validates_fully(self, number: int) -> bool:
        every = self.recipe.evaluation_epochs * self.per_epoch
        return bool(self.valid) and is_due(number, every=every, total=self.total)

    def _validates(self, number: int) -> bool:
        every = max(1, self.total // self.recipe.validations)
        return bool(self.valid) and (number % every == 0 or number == self.total)

    def _sample(self, number: int) -> list[Item]:
        """A few validation examples, others each time, the same ones on every run."""
        count = min(self.recipe.validation_examples, len(self.valid))
        start = (number * count) % len(self.valid)
        return [self.valid[(start + offset) % len(self.valid)] for offset in range(count)]

    # --- updates -----------------------------------------------------------------------------

    def _update(self, number: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, number, self.total)
        guards.require_gradients(self.parameters, number)
        norm = torch.nn.utils.clip_grad_norm_(
            self.parameters.values(), self.recipe.max_grad_norm, error_if_nonfinite=False
        ).item()
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradient norm is {norm} at step {number}", code="gradient_not_finite"
            )
        self.optimizer.step()
        self.accumulator.forget()

    def require_finite(self) -> None:
        """TrainingError if the last update has left the numbers."""
        if not all(bool(torch.isfinite(value).all()) for value in self.parameters.values()):
            raise TrainingError(
                f"the adapter's weights are not finite after step {self.done}",
                code="weights_not_finite",
                hint="A lower learning_rate_multiplier usually helps.",
            )

    # --- state -------------------------------------------------------------------------------

    def state(self) -> dict[str, torch.Tensor]:
        """All that a run needs to go on, by name; see `restore`."""
        return {
            "done": torch.tensor(self.done),
            "micro_batch_tokens": torch.tensor(self.accumulator.tokens),
            "loss_scale": torch.tensor(self.accumulator.scale.factor),
            "history": self.history.tensor(),
            **state.tensors_of(self.parameters, self.optimizer),
        }

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a `state`.  KeyError if it is of another model or recipe."""
        own = dict(tensors)
        self.done = int(own.pop("done"))
        # Jobs that began before these were kept have neither.
        tokens = own.pop("micro_batch_tokens", self.accumulator.tokens)
        self.accumulator.tokens = int(tokens)
        scale = self.accumulator.scale
        scale.factor = float(own.pop("loss_scale", scale.factor))
        self.history.restore(own.pop("history", torch.empty(0, 2)))
        state.take_over(own, self.parameters, self.optimizer)
