"""`POST /v1/completions`, the legacy way to ask.

Models here know conversations, so a prompt is the one message of a user, and its completion is the
answer to it: what a model learned from `{"prompt": …, "completion": …}` once it was converted.
What that cannot carry (`echo`, `suffix`, token ids, `best_of` above `n`) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ftjobs.schema import ChatMessage, Delta, Sampling, Usage
from ftjobs.server.desk import Reads
from ftjobs.server.project import Project
from ftjobs.server.refusals import Refusal
from ftjobs.server.wire.deltas import (
    Head,
    as_deltas,
    as_json,
    closing_of,
    event,
    is_empty,
    token_logprobs,
    told,
    usage_body,
)
from ftjobs.server.wire.response import DONE, answer
from ftjobs.server.wire.settings import Asking, sampling_of

router = APIRouter(tags=["completions"])

LONGEST = 16
"""Tokens of an answer where nothing is said: the wire's default."""
MOST = 128
"""Prompts of one request.  They are answered one after another."""


class CompletionRequest(Asking):
    """One or more prompts."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST)]
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None

    def settings(self) -> dict[str, Any]:
        """As `Asking.settings`."""
        self._refuse("echo", self.echo)
        self._refuse("suffix", self.suffix)
        self._refuse("best_of", (self.best_of or 1) > self.answers)
        given = {"max_tokens": LONGEST} | super().settings()
        given.pop("logprobs", None)
        if self.logprobs is not None:
            given |= {"logprobs": True, "top_logprobs": self.logprobs}
        return given

    @staticmethod
    def _refuse(name: str, value: object) -> None:
        if value:
            words = f"{name} cannot be followed here: models answer conversations"
            raise Refusal(400, words, param=name, code="unsupported_parameter")

    def prompts(self) -> list[str]:
        """All of them."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class TextLogprobs(BaseModel):
    """Of each token: its text, how likely it was, the likeliest, and where it begins."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(BaseModel):
    """One of the answers."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(BaseModel):
    """The answers of a model."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: dict[str, Any] | None


@router.post(
    "/completions",
    response_model=TextCompletion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
def create_completion(body: CompletionRequest, project: Reads, request: Request) -> Response:
    """Answer prompts, each as the one message of a user, whole or piece by piece (`stream`)."""
    sampling = sampling_of(body.settings(), project.capabilities)
    head = Head.new("cmpl", body.model)

    def begin() -> Iterator[bytes]:
        found = _deltas(project, body, sampling)
        return (_events if body.stream else _whole)(found, body, head)

    return answer(request, begin, streamed=body.stream)


def _deltas(project: Project, body: CompletionRequest, sampling: Sampling) -> Iterator[Delta]:
    """The answers to one prompt after another; the last piece has what all of them used."""
    used = Usage()
    prompts = body.prompts()
    for place, prompt in enumerate(prompts):
        message = ChatMessage(role="user", content=prompt)
        if project.is_hosted and not body.stream:
            found = as_deltas(project.complete(body.model, [message], sampling=sampling))
        else:
            found = project.stream(body.model, [message], sampling=sampling)
        with closing_of(told(found, body.answers, None)) as deltas:
            for delta in deltas:
                used = _sum(used, delta.usage) if delta.usage else used
                yield delta.model_copy(
                    update={"index": place * body.answers + delta.index, "usage": None}
                )
    yield Delta(index=-1, usage=used if used.total_tokens else None)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
    )


def _events(deltas: Iterator[Delta], body: CompletionRequest, head: Head) -> Iterator[bytes]:
    """The chunks as server-sent events."""
    base = head.body("text_completion")
    usage: dict[str, Any] = {"usage": None} if body.tells_usage else {}
    texts = [_Text(index, body) for index in range(len(body.prompts()) * body.answers)]
    with closing_of(deltas):
        for delta in deltas:
            if delta.index < 0:
                if body.tells_usage and delta.usage:
                    yield event(base | {"choices": [], "usage": usage_body(delta.usage)})
                continue
            if is_empty(delta):
                yield b""
                continue
            yield event(base | {"choices": [texts[delta.index].piece(delta)]} | usage)
    yield DONE


def _whole(deltas: Iterator[Delta], body: CompletionRequest, head: Head) -> Iterator[bytes]:
    """Nothing while it grows, and then the answer."""
    texts = [_Text(index, body) for index in range(len(body.prompts()) * body.answers)]
    used = None
    with closing_of(deltas):
        for delta in deltas:
            if delta.index < 0:
                used = delta.usage
            else:
                texts[delta.index].add(delta)
            yield b""
    yield as_json(
        head.body("text_completion")
        | {"choices": [text.whole() for text in texts], "usage": usage_body(used)}
    )


@dataclass
class _Text:
    """One of the answers, as it grows."""

    index: int
    body: CompletionRequest
    text: str = ""
    reason: str | None = None

    def __post_init__(self) -> None:
        self._logprobs: dict[str, list[Any]] = {name: [] for name in TextLogprobs.model_fields}

    def piece(self, delta: Delta) -> dict[str, Any]:
        """A chunk's choice."""
        found = self._tokens(delta)
        self.text += delta.content
        return {
            "index": self.index,
            "text": delta.content,
            "logprobs": found if delta.logprobs else None,
            "finish_reason": _legacy(delta.finish_reason),
        }

    def add(self, delta: Delta) -> None:
        """Another piece."""
        for name, values in (self._tokens(delta) or {}).items():
            self._logprobs[name] += values
        self.text += delta.content
        self.reason = _legacy(delta.finish_reason) or self.reason

    def whole(self) -> dict[str, Any]:
        """An answer's choice."""
        return {
            "index": self.index,
            "text": self.text,
            "logprobs": None if self.body.logprobs is None else self._logprobs,
            "finish_reason": self.reason,
        }

    def _tokens(self, delta: Delta) -> dict[str, list[Any]] | None:
        if self.body.logprobs is None:
            return None
        tokens = token_logprobs(delta.logprobs)
        at = len(self.text)
        return {
            "tokens": [each["token"] for each in tokens],
            "token_logprobs": [each["logprob"] for each in tokens],
            "top_logprobs": [
                {top["token"]: top["logprob"] for top in each["top_logprobs"]} for each in tokens
            ],
            "text_offset": [
                at + sum(len(before["token"]) for before in tokens[:i]) for i in range(len(tokens))
            ],
        }


def _legacy(reason: str | None) -> str | None:
    return "stop" if reason in ("tool_calls", "function_call") else reason
