"""Scores from encoder-decoders: T5 (Raffel et al. 2020) and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ftjobs.backends.local.training.padding import padded
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scores
from ftjobs.errors import ModelError


class EncoderDecoder:
    """A `Scorer`.

    The encoder reads an example up to its first supervised token, the decoder writes the rest: it
    is given the truth one place to the right, after the token that starts every answer.
    """

    pads = True

    def __init__(self, model: Any) -> None:
        self.model = model
        self.start = start_token(model)

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """See `Scorer`."""
        device = self.model.device
        cuts = [tokens.supervised.index(True) for tokens in examples]
        read, known = padded([t.inputs[:cut] for t, cut in zip(examples, cuts, strict=True)])
        answers, real = padded([t.ids[cut:] for t, cut in zip(examples, cuts, strict=True)])
        given, _ = padded([t.inputs[cut:] for t, cut in zip(examples, cuts, strict=True)])
        output = self.model(
            input_ids=read.to(device),
            attention_mask=known.to(device),
            decoder_input_ids=shifted(given, self.start).to(device),
            use_cache=False,
        )
        labels = answers[real].to(device)
        logits = output.logits[real.to(device)].float()
        logprobs = torch.log_softmax(logits, dim=-1).gather(1, labels[:, None]).squeeze(1)
        return Scores(logprobs, logits.detach().argmax(dim=-1) == labels)


def shifted(answers: torch.Tensor, start: int) -> torch.Tensor:
    """What the decoder reads to write `answers`, shape (rows, columns): one place to the right."""
    first = torch.full((len(answers), 1), start, dtype=answers.dtype, device=answers.device)
    return torch.cat([first, answers[:, :-1]], dim=1)


def start_token(model: Any) -> int:
    """The token that starts every answer.  ModelError if neither configuration names it."""
    for config in (model.config, model.generation_config):
        token = getattr(config, "decoder_start_token_id", None)
        if token is not None:
            return int(token)
    raise ModelError("the model's configuration names no decoder_start_token_id")
