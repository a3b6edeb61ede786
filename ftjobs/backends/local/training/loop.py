"""The training loop.  It knows nothing of jobs, stores, processes or files.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ftjobs.backends.local.models import quietly
from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from ftjobs.errors import TrainingError


@dataclass(frozen=True)
class Score:
    """Mean loss per supervised token (nats) and the share of tokens predicted (0 to 1)."""

    loss: float
    accuracy: float


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


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """LoRA (Hu et al. 2021) on every linear layer but the head, in float32, seeded.

    B starts at zero, so the adapted model equals its base until the first step.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=recipe.lora_r,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=recipe.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(recipe.seed)
    with quietly():
        return get_peft_model(model, config)


class Run:
    """A training run over rendered examples.

    Iterating takes the steps after `self.done`.  Raises TrainingError where it cannot go on:
    a loss that is not finite, or an adapter that gets no gradient.
    """

    def __init__(
        self, model: Any, recipe: Recipe, train: Sequence[Tokens], valid: Sequence[Tokens] = ()
    ) -> None:
        self.model, self.recipe = model, recipe
        self.train, self.valid = train, valid
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=0.0, weight_decay=recipe.weight_decay, fused=True
        )
        self.per_epoch = batches.steps_per_epoch(len(train), recipe.batch_size)
        self.total = self.per_epoch * recipe.n_epochs
        self.done = 0

    def __iter__(self) -> Iterator[Step]:
        while self.done < self.total:
            yield self._step(self.done + 1)

    def _step(self, number: int) -> Step:
        began = time.monotonic()
        recipe = self.recipe
        epoch, indices = batches.step(
            len(self.train), batch_size=recipe.batch_size, seed=recipe.seed, number=number
        )
        chosen = [self.train[index] for index in indices]
        torch.manual_seed(recipe.seed * 1_000_003 + number)  # dropout
        self.model.train()
        train = self._accumulate(chosen, number)
        self._update(number)
        self.done = number
        seconds = time.monotonic() - began
        ends_epoch = number % self.per_epoch == 0
        full = self._evaluate(self.valid) if self.valid and ends_epoch else None
        return Step(
            number=number,
            total=self.total,
            epoch=epoch,
            ends_epoch=ends_epoch,
            train=train,
            valid=self._evaluate(self._sample(number)) if self._validates(number) else None,
            full_valid=full,
            tokens=sum(len(tokens.ids) for tokens in chosen),
            seconds=seconds,
        )

    def _accumulate(self, chosen: Sequence[Tokens], number: int) -> Score:
        """Gradients of the mean loss over every supervised token of the step."""
        targets = sum(tokens.targets for tokens in chosen)
        loss_sum, hits = 0.0, 0
        for batch in self._micro_batches(chosen):
            loss, hit = token_loss(self.model, batch, self.recipe.device)
            torch.autograd.backward(loss / targets)
            loss_sum += loss.item()
            hits += hit
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"the training loss became {loss_sum} at step {number}",
                code="loss_not_finite",
                hint="A lower learning_rate_multiplier usually helps.",
            )
        return Score(loss_sum / targets, hits / targets)

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

    def _sample(self, number: int) -> list[Tokens]:
        """A few validation examples, others each time, the same ones on every run."""
        count = min(self.recipe.validation_examples, len(self.valid))
        start = (number * count) % len(self.valid)
        return [self.valid[(start + offset) % len(self.valid)] for offset in range(count)]

    @torch.no_grad()
    def _evaluate(self, examples: Sequence[Tokens]) -> Score:
        self.model.eval()
        targets = sum(tokens.targets for tokens in examples)
        pairs = [
            token_loss(self.model, batch, self.recipe.device)
            for batch in self._micro_batches(examples)
        ]
        loss = sum(loss.item() for loss, _ in pairs)
        return Score(loss / targets, sum(hits for _, hits in pairs) / targets)

    def _micro_batches(self, examples: Sequence[Tokens]) -> Iterator[list[Tokens]]:
        lengths = [len(tokens.ids) for tokens in examples]
        for group in batches.micro_batches(lengths, budget=self.recipe.micro_batch_tokens):
            yield [examples[position] for position in group]

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


def token_loss(model: Any, examples: Sequence[Tokens], device: str) -> tuple[torch.Tensor, int]:
    """Summed cross-entropy over the supervised tokens (float32, 0-d), and how many were predicted.

    Padding is on the right, where causal attention keeps it from every real token, so no mask is
    needed; the head is computed only at positions that some example of the batch supervises.
    """
    longest = max(len(tokens.ids) for tokens in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    labels = torch.full((len(examples), longest), -100)
    for row, tokens in enumerate(examples):
        size = len(tokens.ids)
        ids[row, :size] = torch.tensor(tokens.ids)
        labels[row, :size] = torch.where(torch.tensor(tokens.supervised), ids[row, :size], -100)
    labels = labels[:, 1:]  # position t predicts token t + 1
    keep = (labels != -100).any(dim=0).nonzero().squeeze(1)
    ids, labels = ids[:, :-1].to(device), labels[:, keep].to(device).flatten()
    logits = model(input_ids=ids, logits_to_keep=keep.to(device), use_cache=False).logits
    logits = logits.flatten(0, 1).float()
    loss = functional.cross_entropy(logits, labels, reduction="sum", ignore_index=-100)
    return loss, int((logits.argmax(dim=-1) == labels).sum())


def learning_rate(recipe: Recipe, number: int, total: int) -> float:
    """The rate of step `number` (from 1): linear rise, then linear fall that ends above 0."""
    rise = min(1.0, number / (recipe.warmup_steps + 1))
    fall = min(1.0, (total - number + 1) / max(1, total - recipe.warmup_steps))
    return recipe.learning_rate * rise * fall
