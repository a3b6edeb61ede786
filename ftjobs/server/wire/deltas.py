"""From the pieces that a backend gives to those that the wire knows: nothing cut, calls found."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from ftjobs.errors import ServiceError
from ftjobs.schema import Completion, Delta, Usage
from ftjobs.server.wire.tool_calls import Call

__all__ = [
    "Head",
    "Reader",
    "as_deltas",
    "as_json",
    "closing_of",
    "event",
    "is_empty",
    "token_logprobs",
    "told",
    "usage_body",
]

_ENDS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
"""Why answers end, in the words that clients know; a service's other words mean "stop"."""
LEAST = -9999.0
"""The wire's word for a logarithm that is lower than any."""


class Reader(Protocol):
    """Finds calls of tools in an answer."""

    def feed(self, piece: str) -> str:
        """What is surely text."""
        ...

    def end(self) -> tuple[str, list[Call]]:
        """The rest of the text, and the calls."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """What all pieces of one answer begin with."""

    id: str
    model: str
    created: int = field(default_factory=lambda: int(time.time()))
    system_fingerprint: str = f"fp_ftjobs_{version('ftjobs')}"

    @classmethod
    def new(cls, prefix: str, model: str) -> Head:
        """That of a new answer."""
        return cls(f"{prefix}-{secrets.token_hex(12)}", model)

    def body(self, kind: str) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }


def as_deltas(answer: Completion) -> Iterator[Delta]:
    """A whole answer as one piece of each of its parts."""
    last = len(answer.choices) - 1
    for place, choice in enumerate(answer.choices):
        content = choice.message.content
        calls = choice.message.tool_calls or ()
        yield Delta(
            index=choice.index,
            content=content if isinstance(content, str) else "",
            tool_calls=tuple({**call, "index": i} for i, call in enumerate(calls)) or None,
            logprobs=choice.logprobs,
            finish_reason=choice.finish_reason or "stop",
            usage=answer.usage if place == last else None,
        )


def told(
    deltas: Iterator[Delta], n: int, reader: Callable[[], Reader] | None, *, many: bool = True
) -> Iterator[Delta]:
    """The pieces with their calls of tools; the end of each of the `n` answers comes alone.

    For each piece that is held back there is an empty one.

    Args:
        deltas: closed when this is.
        n: how many answers there are.
        reader: of one answer; None where no tools are offered.
        many: whether one answer may have several calls.

    Raises:
        ServiceError: the answer was cut.
    """
    parts = [_Part(reader() if reader else None, many=many) for _ in range(n)]
    with closing_of(deltas):
        for delta in deltas:
            if 0 <= delta.index < n:
                yield from parts[delta.index].told(delta)
    if not all(part.ended for part in parts):
        raise ServiceError("the answer was cut before its end")


def is_empty(delta: Delta) -> bool:
    """Whether a piece says nothing."""
    return not (delta.content or delta.logprobs or delta.tool_calls or delta.finish_reason)


def closing_of(pieces: Iterator[Any]) -> AbstractContextManager[Any]:
    """Closes an iterator that can be closed."""
    can: Any = pieces
    return closing(can) if hasattr(pieces, "close") else nullcontext()


class _Part:
    """One answer of several, as it grows."""

    def __init__(self, reader: Reader | None, *, many: bool) -> None:
        self._reader, self._many = reader, many
        self._logprobs: list[Any] = []
        self._called = 0
        self.ended = False

    def told(self, delta: Delta) -> Iterator[Delta]:
        content = self._reader.feed(delta.content) if self._reader else delta.content
        self._logprobs += (delta.logprobs or {}).get("content") or ()
        if delta.tool_calls:
            self._called = 1 + max(int(call.get("index") or 0) for call in delta.tool_calls)
        if content or delta.tool_calls or (self._logprobs and not self._reader):
            yield self._piece(delta.index, content, delta.tool_calls)
        elif not delta.finish_reason:
            yield Delta(index=delta.index)  # where an answer that is held back can be left
        if delta.finish_reason:
            yield from self._end(delta)

    def _end(self, delta: Delta) -> Iterator[Delta]:
        self.ended = True
        text, calls = self._reader.end() if self._reader else ("", [])
        calls = calls if self._many else calls[: max(0, 1 - self._called)]
        written = tuple(_call(call, self._called + i) for i, call in enumerate(calls)) or None
        if text or written or self._logprobs:
            yield self._piece(delta.index, text, written)
        reason = delta.finish_reason if delta.finish_reason in _ENDS else "stop"
        if reason == "stop" and calls:
            reason = "tool_calls"
        yield Delta(index=delta.index, finish_reason=reason, usage=delta.usage)

    def _piece(self, index: int, text: str, calls: tuple[Mapping[str, Any], ...] | None) -> Delta:
        logprobs, self._logprobs = self._logprobs, []
        return Delta(
            index=index,
            content=text,
            tool_calls=calls,
            logprobs={"content": logprobs} if logprobs else None,
        )


def _call(call: Call, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def token_logprobs(found: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """How likely each token was, in the wire's form; JSON has no infinity."""
    tokens = (found or {}).get("content") or ()
    return [
        _token(each) | {"top_logprobs": [_token(top) for top in each.get("top_logprobs") or ()]}
        for each in tokens
    ]


def _token(each: Mapping[str, Any]) -> dict[str, Any]:
    value = float(each.get("logprob") or 0.0)
    return {
        "token": str(each.get("token", "")),
        "logprob": value if math.isfinite(value) else LEAST,
        "bytes": each.get("bytes"),
    }


def as_json(value: object) -> bytes:
    """JSON in UTF-8, whatever the text is."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode(errors="replace")


def event(value: object) -> bytes:
    """A server-sent event."""
    return b"data: " + as_json(value) + b"\n\n"


def usage_body(usage: Usage | None) -> dict[str, Any] | None:
    """The tokens used, as the wire has them."""
    if usage is None:
        return None
    details = {
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    return usage.model_dump(exclude_none=True) | {
        name: zeros | dict(getattr(usage, name, None) or {}) for name, zeros in details.items()
    }
