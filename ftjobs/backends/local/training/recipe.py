"""From what a user asked for to the numbers that decide the weights: a pure function.

What is left to "auto" follows the rules of `automatic`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ftjobs.backends.local.training.automatic import choices
from ftjobs.schema import Hyperparameters

_ANNOUNCED = {
    "n_epochs", "batch_size", "learning_rate", "learning_rate_multiplier", "lora_r", "lora_alpha",
    "dtype", "beta", "validation_split",
}  # fmt: skip
"""What the line that announces a job says in words of its own."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the resulting weights, resolved to numbers.

    `learning_rate` is the peak; the rate rises to it linearly over `warmup_steps`, then follows
    `lr_scheduler_type`.  `mask_token` replaces the inputs that `token_mask_probability` hides.
    `micro_batch_tokens` bounds what is computed at once; it changes memory and the order of
    summation, not what is optimised.  `threads` is here because sums round differently with
    another number of them.

    A field that is added later has the default that was in force before: jobs that were begun by
    an earlier version go on as they began.
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
    mask_token: int = 0
    lora_target_modules: tuple[str, ...] = ()
    use_rslora: bool = False
    use_dora: bool = False
    evaluation_epochs: float = 1.0
    evaluate_before_training: bool = False
    evaluation_metric: str = "loss"
    save_best_checkpoint: bool = False
    early_stopping_patience: int = 0

    @property
    def examples_per_step(self) -> int:
        """Examples whose gradients become one step of the optimiser."""
        return self.batch_size * self.gradient_accumulation_steps

    def to_json(self) -> dict[str, Any]:
        """As plain values, to be stored with the job."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The reverse of `to_json`, after the way through a file."""
        targets = tuple(values.get("lora_target_modules", ()))
        return cls(**{**values, "lora_target_modules": targets})

    def reported(self, asked: Hyperparameters) -> dict[str, Any]:
        """What the job shows as its hyperparameters, under the names they were asked by.

        That is all that was asked for, and what always matters; a job of the same hyperparameters
        is the same job.
        """
        given = asked.given()
        factor = given.get("learning_rate_multiplier", 1.0)
        own = {"beta": self.beta} if self.method == "dpo" else {}
        return {
            **given,
            **own,
            "n_epochs": self.n_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": factor,
            **({"learning_rate": self.learning_rate} if factor == 1 else {}),
            "lora_r": self.lora_r,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
        }

    def unusual(self, asked: Hyperparameters) -> list[str]:
        """What was asked for other than the default, as "name value", for a line about the job."""
        usual = {field.name: field.default for field in dataclasses.fields(self)}
        usual |= {"lora_dropout": 0.0, "train_on_inputs": False}
        return [
            _in_words(name, value)
            for name, value in asked.given().items()
            if name not in _ANNOUNCED and value != usual.get(name)
        ]


@dataclass(frozen=True)
class Facts:
    """What the rules look at: the data (examples, supervised tokens) and the base model.

    `mask_token` is the id of the token that stands for a hidden one.
    """

    examples: int
    targets: int
    hidden_size: int
    family: str
    adapter_parameters_per_rank: int
    mask_token: int = 0


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
    """Settle every number.  The same arguments always give the same recipe.

    Raises:
        TrainingError: the settings leave no step to take.
    """
    given = asked.given()
    chosen = choices(given, facts, method)
    own = {field.name for field in dataclasses.fields(Recipe)} - set(chosen)
    return Recipe(
        **{
            "lora_alpha": 32.0,
            "lora_dropout": 0.0,
            **{name: value for name, value in given.items() if name in own},
            **{name: choice.value for name, choice in chosen.items()},
            "seed": seed,
            "dtype": machine.dtype,
            "device": machine.device,
            "threads": machine.threads,
            "method": method,
            "mask_token": facts.mask_token,
        }
    )


def explain(asked: Hyperparameters, facts: Facts, recipe: Recipe) -> list[str]:
    """Why each number is what it is that the user left open, each as "name value: why".

    `recipe` may be an earlier version's: what other rules have settled is passed over.
    """
    return [
        f"{_in_words(name, value)}: {why}"
        for name, (value, why) in choices(asked.given(), facts, recipe.method).items()
        if why and value == getattr(recipe, name)
    ]


def _in_words(name: str, value: Any) -> str:
    if value is True or name == "chat_template":  # a template is too long for a line
        return name
    if isinstance(value, tuple):
        value = " ".join(value)
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
