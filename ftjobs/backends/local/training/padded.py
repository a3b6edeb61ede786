"""Scores from any decoder that transformers has, as it computes it: rows padded to the longest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scorer, Scores

_PROBE = (7, 5, 9)
"""Tokens of the made-up examples of `agrees`; they begin with the same three."""


class Padded:
    """A `Scorer`.

    Padding is on the right, where causal attention keeps it from every real token, so no mask is
    needed; the head is computed only at positions that some example of the batch supervises.
    """

    pads = True

    def __init__(self, model: Any) -> None:
        self.model = model

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """See `Scorer`."""
        longest = max(len(tokens.ids) for tokens in examples)
        ids = torch.zeros(len(examples), longest, dtype=torch.long)
        labels = torch.zeros_like(ids)
        supervised = torch.zeros(len(examples), longest, dtype=torch.bool)
        for row, tokens in enumerate(examples):
            labels[row, : tokens.size] = torch.tensor(tokens.ids)
            ids[row, : tokens.size] = torch.tensor(tokens.inputs)
            supervised[row, : tokens.size] = torch.tensor(tokens.supervised)
        supervised = supervised[:, 1:]  # position t predicts token t + 1
        keep = supervised.any(dim=0).nonzero().squeeze(1)
        device = self.model.device
        output = self.model(
            input_ids=ids[:, :-1].to(device), logits_to_keep=keep.to(device), use_cache=False
        )
        kept = supervised[:, keep]
        logits = output.logits[kept.to(device)]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        labels = labels[:, 1:][:, keep][kept].to(device)
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
        return Scores(logprobs, logits.detach().argmax(dim=-1) == labels)


@torch.no_grad()
def agrees(scorer: Scorer, model: Any) -> bool:
    """Whether a faster scorer gives this model's scores for a few made-up examples.

    In 16 bits, sums in another order move the likelihood of such a text's tokens by 0.1 in the
    mean and some by 0.4, so the mean is looked at: another model's is off by more than 1.
    """
    starts = [[31 * size * (i > 2) for i in range(size)] for size in _PROBE]
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = [tuple((17 * i + at) % vocabulary for i, at in enumerate(each)) for each in starts]
    examples = [Tokens(each, (True,) * len(each)) for each in ids]
    ours, theirs = scorer.score(examples).logprobs, Padded(model).score(examples).logprobs
    limit = 1e-3 if model.dtype == torch.float32 else 0.25
    return bool((ours - theirs).abs().mean() < limit)
