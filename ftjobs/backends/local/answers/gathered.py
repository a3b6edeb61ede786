"""The n answers to one request, put together from their pieces.  Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ftjobs.schema import Delta, Sampling, Usage


@dataclass(frozen=True)
class Answered:
    """The n answers to a request: texts, why each ended, and the tokens that were used.

    `logprobs` are the wire's, one for each answer; empty where nobody asked for them.
    """

    texts: tuple[str, ...]
    reasons: tuple[str, ...]
    usage: Usage
    logprobs: tuple[Mapping[str, Any], ...] = ()


class Gathered:
    """Answers as they grow."""

    def __init__(self, sampling: Sampling) -> None:
        self._texts = [""] * sampling.n
        self._reasons = [""] * sampling.n
        self._scores: list[list[Any]] = [[] for _ in range(sampling.n if sampling.logprobs else 0)]
        self._usage = Usage()

    def take(self, deltas: Iterable[Delta]) -> None:
        """The next pieces of any of the answers."""
        for delta in deltas:
            self._texts[delta.index] += delta.content
            self._reasons[delta.index] = delta.finish_reason or ""
            self._usage = delta.usage or self._usage
            if delta.logprobs:
                self._scores[delta.index] += delta.logprobs["content"]

    def answered(self, usage: Usage | None = None) -> Answered:
        """What they are; the usage is that of the last piece unless it is given."""
        logprobs = tuple({"content": scores} for scores in self._scores)
        return Answered(tuple(self._texts), tuple(self._reasons), usage or self._usage, logprobs)
