"""From what a user asked for to the numbers that decide the weights: a pure function.

What is left to "auto" follows two published rules.  The learning rate is Tinker's
`5e-4 * (2000 / hidden_size) ** P` with P = 0.781 for Llama-like and 0.0775 for Qwen models; rank,
batch size and length of training follow *LoRA Without Regret* (Thinking Machines, 2025): adapt
every linear layer, alpha 32, small batches, at least as many adapter parameters as completion
tokens.  The thresholds below are ours; docs/decisions says how far they have been tested.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ftjobs.schema import Hyperparameters

_DPO_RATE = 0.1
"""Of the supervised learning rate.  TRL's own commands for LoRA take 5e-6 against 2e-4."""
_RANKS = ((50_000, 8), (1_000_000, 16), (5_000_000, 32))
_MAX_RANK = 128


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the resulting weights, resolved to numbers.

    `learning_rate` is the peak; it rises linearly over `warmup_steps` and falls linearly at the
    end.  `micro_batch_tokens` bounds what is computed at once; it changes memory and the order of
    summation, not what is optimised.  `threads` is here because sums round differently with
    another number of them.
    """

    n_epochs: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    lora_r: int
    lora_alpha: float
    lora_dropout: float
    seed: int
    dtype: str
    device: str
    threads: int
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    micro_batch_tokens: int = 1024
    validation_examples: int = 4
    validations: int = 20
    method: str = "supervised"
    beta: float = 0.1
    optimizer: str = "adamw"
    lr_scheduler_type: str = "linear"
    gradient_accumulation_steps: int = 1
    drop_last_batch: bool = False
    gradient_checkpointing: bool = False
    torch_compile: bool = False
    token_mask_probability: float = 0.0
    lora_target_modules: tuple[str, ...] = ()
    use_rslora: bool = False
    use_dora: bool = False
    evaluation_epochs: float = 1.0
    evaluate_before_training: bool = False
    evaluation_metric: str = "loss"
    save_best_checkpoint: bool = False
    early_stopping_patience: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain values, to be stored with the job."""
        return dataclasses.asdict(self)

    def reported(self, asked: Hyperparameters) -> dict[str, Any]:
        """What the job shows as its hyperparameters, under the names they were asked by."""
        multiplier = asked.given().get("learning_rate_multiplier", 1.0)
        own = {"beta": self.beta} if self.method == "dpo" else {}
        return {
            **own,
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": multiplier,
            "learning_rate": self.learning_rate,
            "lora_r": self.lora_r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
        }


@dataclass(frozen=True)
class Facts:
    """What the rules look at: the data (examples, supervised tokens) and the base model."""

    examples: int
    targets: int
    hidden_size: int
    family: str
    adapter_parameters_per_rank: int


@dataclass(frozen=True)
class Machine:
    """Where the job runs."""

    dtype: str
    device: str
    threads: int


def resolve(
    asked: Hyperparameters,
    facts: Facts,
    machine: Machine,
    *,
    seed: int,
    method: str = "supervised",
) -> Recipe:
    """Settle every number.  The same arguments always give the same recipe."""
    given = asked.given()
    batch_size = int(given.get("batch_size", _batch_size(facts.examples)))
    n_epochs = int(given.get("n_epochs", _n_epochs(facts.examples, batch_size)))
    steps = math.ceil(facts.examples / batch_size) * n_epochs
    slower = _DPO_RATE if method == "dpo" else 1.0
    rate = given.get("learning_rate", _learning_rate(facts, steps) * slower)
    return Recipe(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate=rate * given.get("learning_rate_multiplier", 1.0),
        warmup_steps=min(10, round(0.05 * steps)),
        lora_r=int(given.get("lora_r", _rank(facts))),
        lora_alpha=float(given.get("lora_alpha", 32.0)),
        lora_dropout=float(given.get("lora_dropout", 0.0)),
        seed=seed,
        dtype=machine.dtype,
        device=machine.device,
        threads=machine.threads,
        method=method,
        beta=float(given.get("beta", 0.1)),
    )


def _batch_size(examples: int) -> int:
    """One five-hundredth of the examples, 1 to 32, and at least 4 from 64 examples on."""
    return max(4 if examples >= 64 else 1, min(32, round(examples / 500)))


def _n_epochs(examples: int, batch_size: int) -> int:
    """Enough passes for about 100 steps when examples are few, one when they are many."""
    if examples < 1000:
        return min(10, max(3, math.ceil(100 * batch_size / examples)))
    if examples < 3000:
        return 3
    return 2 if examples < 10_000 else 1


def _learning_rate(facts: Facts, steps: int) -> float:
    power: float = 0.0775 if facts.family.startswith("qwen") else 0.781
    rate: float = 5e-4 * (2000 / facts.hidden_size) ** power
    short = 1.5 if steps < 100 else 1.0  # short runs need more: LoRA Without Regret
    return min(max(rate, 1e-4), 1e-3) * short


def _rank(facts: Facts) -> int:
    rank = next((rank for limit, rank in _RANKS if facts.targets < limit), 64)
    while rank < _MAX_RANK and rank * facts.adapter_parameters_per_rank < facts.targets:
        rank *= 2
    return rank
