"""The tokens of an answer → its text, and how likely they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ftjobs.backends.local.answers.draw import Scored
from ftjobs.backends.local.answers.vocabulary import Vocabulary
from ftjobs.schema import Delta

Step = Sequence[tuple[int, Scored | None]]
"""The next token of each of some answers, with what it scored where that is asked for."""


def written_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of an answer's tokens.

    As in training, nothing is cleaned up: a space that goes later would have been sent already.
    """
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


@dataclass
class Writer:
    """Turns the tokens of one answer into text, holding back what may yet change.

    Held back are bytes of an unfinished character, and a text that may become a stop text.
    With `whole`, everything is held back to the end, and the text is made only once.

    A piece carries the scores of the tokens whose text begins in it; the stop token has none.
    """

    index: int
    tokenizer: Any
    stops: frozenset[int]
    stop_texts: Sequence[str]
    whole: bool = False
    vocabulary: Vocabulary | None = None
    finished: bool = False
    ids: list[int] = field(default_factory=list)
    sent: int = 0
    read: int = 0
    decided: int = 0
    unsaid: deque[tuple[int, Scored]] = field(default_factory=deque)

    def write(self, token: int, scored: Scored | None = None) -> Iterator[Delta]:
        """Take one token; give what can be said now."""
        self.read += 1
        if token in self.stops:
            yield from self.finish("stop")
            return
        self.ids.append(token)
        if scored:
            self.unsaid.append((self.decided, scored))
        if self.whole and not self.stop_texts:
            return
        text = self._text()
        self.decided = len(text.rstrip("\ufffd"))
        found = [place for stop in self.stop_texts if (place := text.find(stop)) >= 0]
        if found:
            yield from self.finish("stop", end=min(found))
            return
        if self.whole:
            return
        safe = len(text) - self._undecided(text)
        if safe > self.sent:
            content = text[self.sent : safe]
            yield Delta(index=self.index, content=content, logprobs=self._logprobs(safe))
            self.sent = safe

    def finish(self, reason: str, end: int | None = None) -> Iterator[Delta]:
        """Give the rest, up to `end`, with the reason."""
        self.finished = True
        yield Delta(
            index=self.index,
            content=self._text()[self.sent : end],
            finish_reason=reason,
            logprobs=self._logprobs(end),
        )

    def _logprobs(self, end: int | None) -> Mapping[str, Any] | None:
        """The scores of tokens whose text begins before `end`, as the wire has them."""
        content = []
        while self.unsaid and (end is None or self.unsaid[0][0] < end):
            content.append(self._told(self.unsaid.popleft()[1]))
        return {"content": content} if content else None

    def _told(self, scored: Scored) -> Mapping[str, Any]:
        assert self.vocabulary is not None  # noqa: S101 - nothing is scored without one
        one = self.vocabulary.told
        top = [one(token, logprob) for token, logprob in scored.likeliest]
        return {**one(scored.token, scored.logprob), "top_logprobs": top}

    def _text(self) -> str:
        return written_text(self.tokenizer, self.ids)

    def _undecided(self, text: str) -> int:
        """How many characters at the end may yet change; what is sent was looked at before."""
        whole = text.rstrip("\ufffd")
        longest = min(
            len(whole) - self.sent, max((len(stop) for stop in self.stop_texts), default=0) - 1
        )
        for size in range(longest, 0, -1):
            if any(stop.startswith(whole[-size:]) for stop in self.stop_texts):
                return len(text) - len(whole) + size
        return len(text) - len(whole)


def in_steps(writers: Sequence[Writer], steps: Iterable[Step]) -> Iterator[Delta]:
    """Write answers side by side, one token of each a step, until all have ended."""
    for tokens in steps:
        for writer, (token, scored) in zip(writers, tokens, strict=True):
            if not writer.finished:
                yield from writer.write(token, scored)
        if all(writer.finished for writer in writers):
            return
    for writer in writers:
        if not writer.finished:
            yield from writer.finish("length")


def at_once(writers: Sequence[Writer], answers: Sequence[Sequence[int]]) -> Iterator[Delta]:
    """Write answers that are whole, one after another."""
    for writer, tokens in zip(writers, answers, strict=True):
        for token in tokens:
            if not writer.finished:
                yield from writer.write(token)
        if not writer.finished:
            yield from writer.finish("length")
