"""Direct preference optimisation: Rafailov et al. 2023, arXiv:2305.18290, with the sigmoid loss.

    reward(answer) = beta * (log p(answer | prompt) - log p_reference(answer | prompt))
    loss of a pair = -log sigmoid(reward(chosen) - reward(rejected))

An answer's log-probability is the sum over its supervised tokens, the stop token among them.  The
reference is the same model with its adapter off.  It is scored next to the policy, in the same
micro-batch, and not once before training: then both sides round alike (rewards are exactly 0
until the first update, whatever the dtype), and a resumed job needs nothing but its adapter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ftjobs.backends.local.training.objectives import Measure
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.backends.local.training.scores import Scorer
from ftjobs.errors import TrainingError
from ftjobs.schema import Example, Preference


@dataclass(frozen=True)
class Pair:
    """A rendered preference: one prompt with the answer to prefer, and with the other."""

    chosen: Tokens
    rejected: Tokens

    @property
    def targets(self) -> int:
        """How many tokens are supervised, in both."""
        return self.chosen.targets + self.rejected.targets

    @property
    def size(self) -> int:
        """How many tokens there are, the prompt's twice."""
        return self.chosen.size + self.rejected.size

    @property
    def weight(self) -> int:
        """Its share of a mean loss: a loss is a mean over pairs, whatever their lengths."""
        return 1


def render(renderer: Renderer, preference: Preference) -> Pair:
    """Token ids and masks of both outputs, each as a supervised example would have them.

    Raises:
        TrainingError: an output cannot be trained, or both have the same tokens.
    """
    chosen = _output(renderer, preference.preferred, "preferred_output")
    rejected = _output(renderer, preference.non_preferred, "non_preferred_output")
    if (chosen.ids, chosen.supervised) == (rejected.ids, rejected.supervised):
        place = f"line {preference.line}" if preference.line else "a pair"
        raise TrainingError(
            f"{place} cannot be trained: preferred_output and non_preferred_output become the same "
            "tokens, so there is nothing to prefer",
            code="invalid_training_file",
            param="training_file",
        )
    return Pair(chosen, rejected)


def _output(renderer: Renderer, example: Example, name: str) -> Tokens:
    try:
        return renderer.example(example)
    except TrainingError as error:
        message = f"{error.message} (with its {name})"
        raise TrainingError(message, code=error.code, param=error.param) from None


class DPO:
    """An `Objective` over pairs.  `model` is PEFT's; `beta` weighs the pull to the reference.

    Beside loss and wins it reports, under TRL's names, sums over pairs of both rewards, of their
    margins, of the wins (`rewards_accuracies`), and of the shares of chosen tokens that were the
    likeliest (`mean_token_accuracy`).
    """

    def __init__(self, model: Any, scorer: Scorer, *, beta: float) -> None:
        self.model, self.scorer, self.beta = model, scorer, beta
        self.pads = scorer.pads

    def measure(self, items: Sequence[Pair]) -> Measure:
        """See `Objective`."""
        rows = [tokens for pair in items for tokens in (pair.chosen, pair.rejected)]
        targets = [tokens.targets for tokens in rows]
        reference = self._reference(rows, targets)
        scores = self.scorer.score(rows)
        rewards = self.beta * (_sums(scores.logprobs, targets) - reference)
        chosen, rejected = rewards[::2], rewards[1::2]
        margins = chosen - rejected
        hits = torch.split(scores.hits, targets)[::2]
        reported = {
            "rewards_chosen": chosen,
            "rewards_rejected": rejected,
            "rewards_margins": margins,
            "rewards_accuracies": (margins > 0).float(),
            "mean_token_accuracy": torch.stack([part.float().mean() for part in hits]),
        }
        sums = torch.stack([values.detach().sum() for values in reported.values()]).tolist()
        others = dict(zip(reported, sums, strict=True))
        loss = -torch.nn.functional.logsigmoid(margins).sum()
        return Measure(loss, others["rewards_accuracies"], others)

    @torch.no_grad()
    def _reference(self, rows: Sequence[Tokens], targets: list[int]) -> torch.Tensor:
        """Log-probabilities of the answers under the base, shape (rows,)."""
        training = self.model.training
        self.model.eval()  # a base that has dropout of its own is a reference without it
        try:
            with self.model.disable_adapter():
                return _sums(self.scorer.score(rows).logprobs, targets)
        finally:
            self.model.train(training)


def _sums(logprobs: torch.Tensor, targets: list[int]) -> torch.Tensor:
    """One sum for each run of `targets`, shape (len(targets),)."""
    return torch.stack([part.sum() for part in torch.split(logprobs, targets)])
