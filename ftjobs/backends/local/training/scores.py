"""What a family of models tells an objective: the log-probability of each supervised token.

A `Scorer` is the one seam between the loop and the kinds of models.  `padded` works for every
decoder of transformers; `packed` computes the layers of Llama-like decoders itself, faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ftjobs.backends.local.training.render import Tokens


@dataclass(frozen=True)
class Scores:
    """Of the supervised tokens of some examples, in order: all of the first, then the second's.

    `logprobs` in nats, float32, shape (targets,), with gradients where they are recorded; `hits`,
    bool, shape (targets,): whether the token was the likeliest, alone or with others.
    """

    logprobs: torch.Tensor
    hits: torch.Tensor


class Scorer(Protocol):
    """Scores examples with the model as it stands."""

    pads: bool
    """Whether examples are filled up to the longest that is scored with them."""

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """One forward pass over all `examples`; gradients are recorded unless torch is told not to.

        The model reads `inputs`, some of which may be hidden, and is asked for `ids`.

        With PEFT's adapters switched off (`model.disable_adapter()`), the base's scores.
        """
        ...
