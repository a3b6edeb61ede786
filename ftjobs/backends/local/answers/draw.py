"""Logits → the next token.

What a sampling changes comes in transformers' order: the penalties, stop tokens that are too
early, what a guide does not allow, then temperature, `top_k` and `top_p`.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from ftjobs.backends.local.answers.guide import Guide
from ftjobs.schema import Sampling

NO_NUMBERS = "its weights give no numbers"

NUCLEUS = 1024
"""Tokens among which `top_p` looks first: to sort a whole vocabulary takes most of a draw's time.

Measured with 49,152 tokens on one core: 6.2 ms a draw with the sort, 2.2 ms without.
"""


class Shaping:
    """What a sampling makes of logits by what was read and written before.

    Args:
        sampling: the settings.
        prompt: the tokens that were read.
        stops: the tokens that end an answer.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], stops: Collection[int]) -> None:
        self.repetition = sampling.repetition_penalty or 1.0
        self.frequency = sampling.frequency_penalty or 0.0
        self.presence = sampling.presence_penalty or 0.0
        self.least = sampling.min_tokens or 0
        self.active = self.repetition != 1 or bool(self.frequency or self.presence or self.least)
        self._prompt = torch.tensor(prompt, dtype=torch.long)
        self._stops = torch.tensor(sorted(stops), dtype=torch.long)
        self._read: torch.Tensor | None = None

    def __call__(self, logits: torch.Tensor, written: torch.Tensor) -> torch.Tensor:
        """Logits as the settings want them.

        Args:
            logits: shape (rows, vocabulary); log-probabilities will do.
            written: the tokens of each answer so far, shape (rows, tokens).
        """
        if not self.active:
            return logits
        counts = torch.zeros_like(logits).scatter_add_(
            1, written, torch.ones_like(written, dtype=logits.dtype)
        )
        if self.repetition != 1:
            logits = self._unrepeated(logits, counts)
        if self.frequency or self.presence:
            logits = logits - counts * self.frequency
            logits = logits - (counts > 0) * self.presence
        if written.shape[1] < self.least:
            logits = logits.index_fill(1, self._stops.to(logits.device), -math.inf)
        return logits

    def _unrepeated(self, logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """CTRL's penalty (Keskar et al. 2019), with the prompt's tokens among the used ones.

        As in transformers, a logit below 0 is multiplied, where the paper divides it too, which
        would raise it.
        """
        if self._read is None:
            known = self._prompt[self._prompt < logits.shape[1]]  # a head may have fewer rows
            self._read = torch.zeros(logits.shape[1], dtype=torch.bool)
            self._read[known] = True
            self._read = self._read.to(logits.device)
        lowered = torch.where(logits < 0, logits * self.repetition, logits / self.repetition)
        lowered = lowered.nan_to_num()  # a penalty that float32 does not hold is 0 or infinite
        return torch.where((counts > 0) | self._read, lowered, logits)


@dataclass(frozen=True)
class Scored:
    """A token that was drawn, and the likeliest ones there, each with its log-probability."""

    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


def scored(logits: torch.Tensor, token: int, most: int) -> Scored:
    """How likely `token` and the `most` likeliest ones are, from logits of shape (1, vocabulary).

    In nats, computed in float64: that of the model alone, before any setting of the sampling.
    """
    logprobs = torch.log_softmax(logits[0].double(), dim=-1)
    values, tokens = logprobs.topk(min(most, len(logprobs)))
    likeliest = zip(tokens.tolist(), values.tolist(), strict=True)
    return Scored(token, float(logprobs[token]), tuple(likeliest))


def draws(
    sampling: Sampling,
    prompt: Sequence[int],
    stops: Collection[int],
    guide: Guide | None = None,
) -> list[Draw]:
    """One for each of the n answers to `prompt`; each depends on nothing else but the seed."""
    seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
    seeds = [seed, *(_derived(seed, answer) for answer in range(1, sampling.n))]
    shaping = Shaping(sampling, prompt, stops)
    return [Draw(sampling, shaping, each, guide and guide.copy()) for each in seeds]


def _derived(seed: int, answer: int) -> int:
    """Far from the seeds that a user may give to another request."""
    digest = hashlib.sha256(f"{seed}:{answer}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Draw:
    """The draws of one answer, the same whatever else is computed beside it.

    `likeliest` says that it is always the likeliest token, of which nothing else is asked;
    `scored` is the last one's, if log-probabilities are asked for.
    """

    def __init__(
        self, sampling: Sampling, shaping: Shaping, seed: int, guide: Guide | None = None
    ) -> None:
        self.sampling, self.shaping, self.seed, self.guide = sampling, shaping, seed, guide
        told = shaping.active or sampling.logprobs or guide is not None
        self.likeliest = sampling.temperature == 0 and not told
        self.scored: Scored | None = None
        self._written: list[int] = []
        self._generator: torch.Generator | None = None

    def next(self, logits: torch.Tensor) -> int:
        """The next token, from logits of shape (1, vocabulary).

        Raises:
            ValueError: one of them is NaN, or the guide cannot go on.
        """
        require_numbers(logits)
        token = self._chosen(self._allowed(logits))
        self._written.append(token)
        if self.guide:
            self.guide.take(token)
        if self.sampling.logprobs:
            self.scored = scored(logits, token, self.sampling.top_logprobs or 0)
        return token

    def _allowed(self, logits: torch.Tensor) -> torch.Tensor:
        shaped = logits
        if self.shaping.active:
            written = torch.tensor([self._written], dtype=torch.long, device=logits.device)
            shaped = self.shaping(logits, written)
        if self.guide is None:
            return shaped
        others = ~self.guide.allowed(logits.shape[1]).to(logits.device)
        found = shaped.masked_fill(others, -math.inf)
        # Where JSON has come to its end, its stop token may come although `min_tokens` holds it.
        return found if found.isfinite().any() else logits.masked_fill(others, -math.inf)

    def _chosen(self, logits: torch.Tensor) -> int:
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        if self._generator is None:
            self._generator = torch.Generator(logits.device).manual_seed(self.seed)
        found = probabilities(logits, self.sampling)
        return int(torch.multinomial(found, 1, generator=self._generator))


def require_numbers(logits: torch.Tensor) -> None:
    """ValueError if any is NaN."""
    if logits.isnan().any():
        raise ValueError(NO_NUMBERS)


def probabilities(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What tokens are drawn with, float64, from logits; both of shape (rows, vocabulary).

    `top_k` keeps the likeliest tokens, and those as likely as the last of them (Fan et al. 2018);
    of what is left, `top_p` keeps the smallest set that has this probability (Holtzman et al.
    2019).  The temperature is above 0.  Rows need not add up to 1.
    """
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    # In float64 with the maximum at 0, a tiny temperature cannot overflow.
    scaled = (logits.double() - logits.amax(-1, keepdim=True)) / temperature
    if sampling.top_k:
        last = scaled.topk(min(sampling.top_k, scaled.shape[-1])).values[:, -1:]
        scaled = scaled.masked_fill(scaled < last, -math.inf)
    found = torch.softmax(scaled, dim=-1)
    if sampling.top_p is None or sampling.top_p == 1:
        return found
    ordered, places = found.topk(min(NUCLEUS, found.shape[-1]))
    if (ordered.sum(dim=-1) < sampling.top_p).any():
        ordered, places = found.sort(dim=-1, descending=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
    return torch.zeros_like(found).scatter(1, places, ordered.masked_fill(beyond, 0.0))
