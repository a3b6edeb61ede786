"""What a step minimises, as a sum over examples: the loop divides it by their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import torch

from ftjobs.backends.local.heads import family_of
from ftjobs.backends.local.training.classifier import Classifier
from ftjobs.backends.local.training.encoder_decoder import EncoderDecoder
from ftjobs.backends.local.training.joined import open_joined
from ftjobs.backends.local.training.packed.scorer import open_packed
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.precision import QUANTISED
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scorer


class Item(Protocol):
    """One example as the loop sees it."""

    @property
    def size(self) -> int:
        """Tokens that are computed for it."""
        ...

    @property
    def weight(self) -> int:
        """Its share of the mean: supervised tokens, or 1 for a pair."""
        ...


I = TypeVar("I", bound=Item, contravariant=True)  # noqa: E741 — the item


@dataclass(frozen=True)
class Measure:
    """Sums over some examples.  `loss` is a 0-d float32 tensor, `hits` counts as `weight` does.

    `others` are sums of what else is reported, by the name of the metric.
    """

    loss: torch.Tensor
    hits: float
    others: Mapping[str, float] = field(default_factory=dict)


class Objective(Protocol[I]):
    """Measures examples; the gradient of `Measure.loss` is what is learned."""

    pads: bool

    def measure(self, items: Sequence[I]) -> Measure:
        """One forward pass, or as many as the objective needs."""
        ...


class Supervised:
    """Cross-entropy of the supervised tokens."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.pads = scorer, scorer.pads

    def measure(self, items: Sequence[Tokens]) -> Measure:
        """See `Objective`."""
        scores = self.scorer.score(items)
        return Measure(-scores.logprobs.sum(), int(scores.hits.sum()))


def scorer_for(model: Any, recipe: Recipe) -> Scorer:
    """The fastest scorer that is right for an adapted model."""
    kind = family_of(model)
    if kind == "encoder-decoder":
        return EncoderDecoder(model)
    if kind == "classifier":
        return Classifier(model)
    # Layers by hand know nothing of compiling, computing again and quantised weights; and on a CPU
    # a loop over examples cannot be compiled for any number of them.
    if recipe.torch_compile and recipe.device == "cpu":
        return Padded(model)
    by_hand = not (recipe.torch_compile or recipe.gradient_checkpointing)
    packed = open_packed(model) if by_hand and recipe.dtype not in QUANTISED else None
    return packed or open_joined(model) or Padded(model)


def objective_for(model: Any, recipe: Recipe) -> Objective[Any]:
    """What a recipe wants of an adapted model."""
    from ftjobs.backends.local.training.dpo import DPO  # which needs `Measure`

    scorer = scorer_for(model, recipe)
    if recipe.method == "dpo":
        return DPO(model, scorer, beta=recipe.beta)
    return Supervised(scorer)
