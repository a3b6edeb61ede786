"""The answer of POST /v1/chat/completions: whole, or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel

from ftjobs.schema import Delta
from ftjobs.server.wire.chat_request import ChatRequest, ToolCall
from ftjobs.server.wire.deltas import (
    Head,
    as_json,
    closing_of,
    event,
    is_empty,
    token_logprobs,
    usage_body,
)
from ftjobs.server.wire.response import DONE

__all__ = ["ChatCompletion", "events", "whole"]


class Answered(BaseModel):
    """What the model says."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    annotations: list[Any]
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One of the answers."""

    index: int
    message: Answered
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatCompletion(BaseModel):
    """The answers of a model."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: dict[str, Any] | None


# --- piece by piece ---------------------------------------------------------------------------


def events(deltas: Iterator[Delta], body: ChatRequest, head: Head) -> Iterator[bytes]:
    """The chunks as server-sent events."""
    base = head.body("chat.completion.chunk")
    usage: dict[str, Any] = {"usage": None} if body.tells_usage else {}
    used, begun = None, False

    def chunk(index: int, delta: Mapping[str, Any], **more: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None} | more
        return event(base | {"choices": [choice]} | usage)

    with closing_of(deltas):
        for delta in deltas:
            if is_empty(delta):
                yield b""
                continue
            if not begun:
                begun = True
                first = {"role": "assistant", "content": "", "refusal": None}
                yield b"".join(chunk(index, first) for index in range(body.answers))
            used = delta.usage or used
            if delta.finish_reason:
                yield chunk(delta.index, {}, finish_reason=delta.finish_reason)
            else:
                yield chunk(delta.index, _said(delta), logprobs=_logprobs(delta, body))
    if body.tells_usage and used:
        yield event(base | {"choices": [], "usage": usage_body(used)})
    yield DONE


def _said(delta: Delta) -> dict[str, Any]:
    said: dict[str, Any] = {"content": delta.content} if delta.content else {}
    return said | ({"tool_calls": delta.tool_calls} if delta.tool_calls else {})


def _logprobs(delta: Delta, body: ChatRequest) -> dict[str, Any] | None:
    if not body.logprobs:
        return None
    return {"content": token_logprobs(delta.logprobs), "refusal": None}


# --- whole ------------------------------------------------------------------------------------


def whole(deltas: Iterator[Delta], body: ChatRequest, head: Head) -> Iterator[bytes]:
    """Nothing while it grows, and then the answer."""
    choices = [_Choice(index, body) for index in range(body.answers)]
    used = None
    with closing_of(deltas):
        for delta in deltas:
            choices[delta.index].add(delta)
            used = delta.usage or used
            yield b""
    found = head.body("chat.completion") | {
        "choices": [choice.body() for choice in choices],
        "usage": usage_body(used),
    }
    yield as_json(found)


class _Choice:
    """One of the answers."""

    def __init__(self, index: int, body: ChatRequest) -> None:
        self._index, self._body = index, body
        self._texts: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason = "stop"

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.content)
        self._logprobs += token_logprobs(delta.logprobs)
        self._reason = delta.finish_reason or self._reason
        for piece in delta.tool_calls or ():
            self._call(piece)

    def _call(self, piece: Mapping[str, Any]) -> None:
        """Pieces of one call are put together."""
        call = self._calls.setdefault(
            int(piece.get("index") or 0),
            {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
        )
        call["id"] = piece.get("id") or call["id"]
        function = piece.get("function") or {}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""

    def body(self) -> dict[str, Any]:
        text = "".join(self._texts)
        calls = [self._calls[index] for index in sorted(self._calls)]
        message: dict[str, Any] = {
            "role": "assistant",
            "content": None if calls and not text else text,
            "refusal": None,
            "annotations": [],
        }
        logprobs = {"content": self._logprobs, "refusal": None} if self._body.logprobs else None
        return {
            "index": self._index,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "logprobs": logprobs,
            "finish_reason": self._reason,
        }
