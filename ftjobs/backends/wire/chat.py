"""Chat over the wire: a conversation → a request, the pieces of a stream → deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ftjobs.backends.nouns import Raw, mapping, noun
from ftjobs.errors import DeadlineError, ServiceError, UnreachableError
from ftjobs.schema import ChatMessage, Delta, Sampling, Usage

__all__ = ["chat_body", "deltas"]


def chat_body(model: str, messages: Sequence[ChatMessage], sampling: Sampling) -> dict[str, Any]:
    """The body of POST /chat/completions.  What was not chosen is left out."""
    drawn = sampling.model_dump(mode="json", exclude_defaults=True)
    said = [
        message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
        for message in messages
    ]
    return {"model": model, "messages": said, **drawn}


def deltas(chunks: Iterable[Raw], n: int, name: str) -> Iterator[Delta]:
    """The pieces of `n` answers; the last one of each index carries its `finish_reason`.

    Raises:
        ServiceError: the stream was cut, or ended before all answers did.
    """
    ends: dict[int, Delta] = {}  # kept back, so that the usage that follows can join the last
    usage: Raw = {}
    for chunk in _uncut(chunks, name):
        usage = mapping(chunk.get("usage")) or usage
        for delta in _choices(chunk, name):
            if delta.content:
                yield delta.model_copy(update={"finish_reason": None})
            if delta.finish_reason:
                ends[delta.index] = delta.model_copy(update={"content": ""})
    if len(ends) < n:
        raise ServiceError(f"{name}: the stream ended before the answer did")
    *others, last = sorted(ends.values(), key=lambda delta: delta.index)
    yield from others
    yield last.model_copy(update={"usage": noun(Usage, usage, name) if usage else None})


def _uncut(chunks: Iterable[Raw], name: str) -> Iterator[Raw]:
    try:
        yield from chunks
    except (UnreachableError, DeadlineError) as error:
        raise ServiceError(f"{name}: the stream was cut: {error.message}") from None


def _choices(chunk: Raw, name: str) -> Iterator[Delta]:
    choices = chunk.get("choices") or []
    if not isinstance(choices, list):
        raise ServiceError(f"{name}: a piece of the stream has choices that cannot be read")
    for choice in map(mapping, choices):
        piece = {
            "index": choice.get("index"),
            "content": mapping(choice.get("delta")).get("content"),
            "finish_reason": choice.get("finish_reason"),
        }
        yield noun(Delta, piece, name)
