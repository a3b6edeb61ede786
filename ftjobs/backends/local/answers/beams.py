"""Beam search: the likeliest answers instead of drawn ones.

As `generate(num_beams=…)` of transformers does it by default (`length_penalty` 1,
`early_stopping` False): an answer's score is the mean of its tokens' log-probabilities, and the
search ends when the best open beam, as long as it is now, could not enter the best answers any
more (discussed in huggingface/transformers#20901).  The penalties apply to log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ftjobs.backends.local.answers.draw import Shaping, require_numbers


class Cache(Protocol):
    """Keys and values of rows that are read, as transformers' caches hold them."""

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Only the rows `beam_idx`, in this order, a row as often as it is named."""
        ...


Forward = Callable[[torch.Tensor], torch.Tensor]
"""Reads tokens, shape (rows, columns), into the cache → logits of the next, (rows, vocabulary)."""


@dataclass(frozen=True)
class Answer:
    """The tokens of an answer, its stop token among them, and their mean log-probability."""

    tokens: tuple[int, ...]
    score: float


class Beams:
    """A search for the likeliest answers to one prompt.

    Args:
        width: how many beams are kept open, and answers at most.
        limit: the most tokens of an answer.
        stops: the tokens that end one.
        ends: says of an answer's tokens whether its text has come to an end; it need not look
            for stop tokens.
        shaping: what changes the log-probabilities.
    """

    def __init__(
        self,
        width: int,
        *,
        limit: int,
        stops: frozenset[int],
        shaping: Shaping,
        ends: Callable[[Sequence[int]], bool] = lambda _tokens: False,
    ) -> None:
        self.width, self.limit, self.stops = width, limit, stops
        self.shaping, self.ends = shaping, ends
        self.answers: list[Answer] = []
        self._written = torch.empty(1, 0, dtype=torch.long)
        self._scores = torch.zeros(1)

    @torch.inference_mode()
    def search(self, prompt: Sequence[int], forward: Forward, cache: Cache) -> list[Answer]:
        """The best answers, the best first.  ValueError if a logit is NaN."""
        ids = torch.tensor([prompt])
        while True:
            sources = self._advance(forward(ids))
            if not self._may_improve():
                return self.answers
            cache.reorder_cache(sources)
            ids = self._written[:, -1:]

    def _advance(self, logits: torch.Tensor) -> torch.Tensor:
        """One more token for every beam; the rows of `logits` that the beams now go on from."""
        scores, rows, tokens = self._candidates(logits)
        written = torch.cat([self._written[rows], tokens.unsqueeze(1)], dim=1)
        ended = self._ended(written)
        self._take(written, scores, ended)
        open_ = (~ended).nonzero().flatten()
        self._written, self._scores = written[open_], scores[open_]
        return rows[open_]

    def _candidates(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores, rows and tokens of the likeliest ways to go on, the best first.

        They are so many that `width` of them go on, even if each row has all its stop tokens
        among the others.
        """
        require_numbers(logits)
        own = torch.log_softmax(logits.float(), dim=-1)
        own = self.shaping(own, self._written.to(own.device))
        sums = (own + self._scores.to(own.device).unsqueeze(1)).flatten()
        most = max(2, 1 + len(self.stops)) * self.width
        scores, places = (found.cpu() for found in sums.topk(min(most, len(sums))))
        real = scores > -torch.inf  # a token that may not come is no way to go on
        scores, places = scores[real], places[real]
        size = logits.shape[-1]
        return scores, places // size, places % size

    def _ended(self, written: torch.Tensor) -> torch.Tensor:
        """Which candidates have ended, as far down as it takes to find `width` that go on."""
        ended: list[bool] = []
        for tokens in written:
            if len(ended) >= self.width and ended.count(False) == self.width:
                break
            ended.append(self._has_ended(tokens.tolist()))
        return torch.tensor(ended)

    def _has_ended(self, tokens: Sequence[int]) -> bool:
        return tokens[-1] in self.stops or len(tokens) >= self.limit or self.ends(tokens)

    def _take(self, written: torch.Tensor, scores: torch.Tensor, ended: torch.Tensor) -> None:
        """Keep the best answers.

        Of the candidates that have ended, only those among the best `width` count, unless no
        other goes on.
        """
        most = len(ended) if ended.all() else self.width
        found = ended[:most].nonzero().flatten().tolist()
        length = written.shape[1]
        new = [Answer(tuple(written[i].tolist()), float(scores[i] / length)) for i in found]
        both = sorted([*self.answers, *new], key=lambda answer: -answer.score)
        self.answers = both[: self.width]

    def _may_improve(self) -> bool:
        if not len(self._scores):
            return False
        best = float(self._scores[0] / self._written.shape[1])
        return len(self.answers) < self.width or best > self.answers[-1].score
