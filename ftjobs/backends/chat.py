"""Chat completions as OpenAI shaped them and others speak them: body, answer, pieces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ftjobs.backends.base import Tools
from ftjobs.backends.nouns import Raw, mapping, noun, rows
from ftjobs.errors import DeadlineError, ServiceError, UnreachableError, UnsupportedError
from ftjobs.schema import Capabilities, ChatMessage, Completion, Delta, Sampling, Usage

__all__ = ["BEYOND_OPENAI", "DEFAULTS", "chat_body", "check_sampling", "completion", "deltas"]

_REASONING = re.compile(r"(ft:|openai/)?(o\d|gpt-5)")
"""OpenAI's reasoning models, which refuse `max_tokens`; what it calls them."""

DEFAULTS = Sampling()
"""A service's own sampling."""

BEYOND_OPENAI = frozenset(Sampling.model_fields) - Capabilities().sampling
"""Settings that OpenAI's own client does not take as arguments."""


def check_sampling(sampling: Sampling, capabilities: Capabilities, name: str) -> None:
    """Refuse settings that a service does not know, before it is asked.

    Some services would ignore them in silence, and answer otherwise than was asked for.

    Raises:
        UnsupportedError: the message names the settings and the service.
    """
    chosen = set(sampling.model_dump(exclude_defaults=True))
    if unknown := sorted(chosen - capabilities.sampling):
        raise UnsupportedError(
            f"{name} knows no sampling setting {', '.join(unknown)}",
            hint=f"It knows: {', '.join(sorted(capabilities.sampling))}. Where that is wrong, "
            "name the setting in capabilities.sampling of its profile.",
        )


def chat_body(
    model: str, messages: Sequence[ChatMessage], sampling: Sampling, tools: Tools = ()
) -> dict[str, Any]:
    """The body of POST /chat/completions.  What was not chosen is left out."""
    drawn = sampling.model_dump(mode="json", exclude_defaults=True)
    if _REASONING.match(model) and "max_tokens" in drawn:
        drawn["max_completion_tokens"] = drawn.pop("max_tokens")
    said = [
        message.model_dump(mode="json", exclude_none=True, exclude={"weight"})
        for message in messages
    ]
    offered = {"tools": [dict(tool) for tool in tools]} if tools else {}
    return {"model": model, "messages": said, **offered, **drawn}


def completion(answer: Raw, model: str, name: str) -> Completion:
    """The whole answer of the service called `name`.  ServiceError if it cannot be read."""
    if "choices" not in answer:
        raise ServiceError(f"{name} answered what is no chat completion")
    choices = [{**choice, "index": choice.get("index") or 0} for choice in _choices(answer, name)]
    return noun(Completion, {**answer, "choices": choices}, name, model=model, id="", created=0)


def deltas(chunks: Iterable[Raw], n: int, name: str) -> Iterator[Delta]:
    """The pieces of a streamed answer; the last of each of its `n` parts ends it.

    Raises:
        ServiceError: a piece cannot be read, or the stream is cut or ends before the answer does.
    """
    ends: dict[int, Delta] = {}  # kept back, so that the usage that follows can join the last
    usage: Raw | None = None
    for chunk in _uncut(chunks, name):
        usage = mapping(chunk.get("usage")) or usage
        for choice in _choices(chunk, name):
            delta = _delta(choice, name)
            if delta.content or delta.tool_calls or delta.logprobs:
                yield delta.model_copy(update={"finish_reason": None})
            if delta.finish_reason:
                nothing_more = {"content": "", "tool_calls": None, "logprobs": None}
                ends[delta.index] = delta.model_copy(update=nothing_more)
    if len(ends) < n:
        raise ServiceError(f"{name}: the stream ended before the answer did")
    *others, last = sorted(ends.values(), key=lambda delta: delta.index)
    yield from others
    yield last.model_copy(update={"usage": usage and noun(Usage, usage, name)})


def _uncut(chunks: Iterable[Raw], name: str) -> Iterator[Raw]:
    try:
        yield from chunks
    except (UnreachableError, DeadlineError) as error:  # asking again would pay again
        raise ServiceError(f"{name}: the stream was cut: {error.message}") from None


def _choices(answer: Raw, name: str) -> list[Raw]:
    return rows(answer, "choices", name)


def _delta(choice: Raw, name: str) -> Delta:
    piece = mapping(choice.get("delta"))
    found = {
        "index": choice.get("index"),
        "content": piece.get("content"),
        "tool_calls": piece.get("tool_calls") or None,
        "finish_reason": choice.get("finish_reason"),
        "logprobs": choice.get("logprobs") or None,
    }
    return noun(Delta, found, name)
