"""Scores from encoders that have become classifiers: BERT (Devlin et al. 2019) and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ftjobs.backends.local.training.padding import padded
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scores


class Classifier:
    """A `Scorer`.

    The last token of an example is no token but the number of its answer, the only thing that is
    supervised: so a loss is the cross-entropy of the answers, and the accuracy that of choosing.
    """

    pads = True

    def __init__(self, model: Any) -> None:
        self.model = model

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """See `Scorer`."""
        logits = choose(self.model, [tokens.inputs[:-1] for tokens in examples])
        labels = torch.tensor([tokens.ids[-1] for tokens in examples], device=logits.device)
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
        return Scores(logprobs, logits.detach().argmax(dim=-1) == labels)


def choose(model: Any, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits of every answer to every prompt, float32: shape (prompts, labels)."""
    ids, known = padded(prompts)
    device = model.device
    output = model(input_ids=ids.to(device), attention_mask=known.to(device))
    logits: torch.Tensor = output.logits.float()
    return logits
