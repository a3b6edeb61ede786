"""Logits → the next token."""

from __future__ import annotations

import hashlib
import secrets

import torch

from ftjobs.schema import Sampling

NO_NUMBERS = "its weights give no numbers"


def draws(sampling: Sampling) -> list[Draw]:
    """One for each of the n answers; each depends on nothing but the seed."""
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    seeds = [seed, *(_derived(seed, answer) for answer in range(1, sampling.n))]
    return [Draw(sampling, each) for each in seeds]


def _derived(seed: int, answer: int) -> int:
    """Far from the seeds that a user may give to another request."""
    digest = hashlib.sha256(f"{seed}:{answer}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Draw:
    """The draws of one answer, the same whatever else is computed beside it."""

    def __init__(self, sampling: Sampling, seed: int) -> None:
        self.sampling, self.seed = sampling, seed
        self.penalised = bool(sampling.frequency_penalty or sampling.presence_penalty)
        self.likeliest = sampling.temperature == 0 and not self.penalised
        self._counts: torch.Tensor | None = None
        self._generator: torch.Generator | None = None

    def next(self, logits: torch.Tensor) -> int:
        """The next token, from logits of shape (1, vocabulary).  ValueError if one is NaN."""
        if self.penalised and self._counts is None:
            self._counts = torch.zeros_like(logits)
        if self._generator is None:
            self._generator = torch.Generator(logits.device).manual_seed(self.seed)
        token = int(choose(logits, self._counts, self.sampling, self._generator))
        if self._counts is not None:
            self._counts[0, token] += 1
        return token


def choose(
    logits: torch.Tensor,
    counts: torch.Tensor | None,
    sampling: Sampling,
    generator: torch.Generator,
) -> torch.Tensor:
    """The next tokens, shape (n, 1), from logits of shape (n, vocabulary).

    `counts` says how often each answer has used each token, None if nothing counts them: the
    wire's penalties subtract `frequency_penalty * count + presence_penalty * (count > 0)` from the
    logits.  `top_p` keeps the smallest set of tokens that has this probability (Holtzman et al.
    2019).
    """
    if logits.isnan().any():
        raise ValueError(NO_NUMBERS)
    if counts is not None:
        logits = logits - counts * (sampling.frequency_penalty or 0.0)
        logits = logits - (counts > 0) * (sampling.presence_penalty or 0.0)
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    # In float64 with the maximum at 0, a tiny temperature cannot overflow.
    scaled = (logits.double() - logits.amax(-1, keepdim=True)) / temperature
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(
            1, places, ordered.masked_fill(beyond, 0.0)
        )
    return torch.multinomial(probabilities, 1, generator=generator)
