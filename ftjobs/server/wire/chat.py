"""`POST /v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response

from ftjobs.schema import ChatMessage, Delta, Sampling
from ftjobs.server.desk import Reads
from ftjobs.server.project import Project
from ftjobs.server.refusals import Refusal
from ftjobs.server.wire.chat_answer import ChatCompletion, events, whole
from ftjobs.server.wire.chat_request import ChatRequest, Function
from ftjobs.server.wire.deltas import Head, Reader, as_deltas, told
from ftjobs.server.wire.response import answer
from ftjobs.server.wire.settings import sampling_of
from ftjobs.server.wire.tool_calls import CallReader, FixedReader

router = APIRouter(tags=["chat"])


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": {"text/event-stream": {}}}},
)
def create_chat_completion(body: ChatRequest, project: Reads, request: Request) -> Response:
    """Answer a conversation, whole or piece by piece (`stream`)."""
    asked = _asked(body, project)
    head = Head.new("chatcmpl", body.model)

    def begin() -> Iterator[bytes]:
        deltas = _deltas(project, asked, streamed=bool(body.stream))
        found = told(deltas, body.answers, asked.reader, many=body.parallel_tool_calls is not False)
        return (events if body.stream else whole)(found, body, head)

    return answer(request, begin, streamed=body.stream)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as backends want it, and how calls of tools are found in the answer."""

    model: str
    messages: list[ChatMessage]
    sampling: Sampling
    tools: tuple[Mapping[str, Any], ...]
    reader: Callable[[], Reader] | None


def _asked(body: ChatRequest, project: Project) -> _Asked:
    given = body.settings()
    tools, wanted = body.offered(), body.wanted()
    names = [tool["function"]["name"] for tool in tools]
    reader: Callable[[], Reader] | None = (lambda: CallReader(names)) if tools else None
    if wanted:
        can = "response_format" in project.capabilities.sampling and not project.is_hosted
        if not can or "response_format" in given:
            words = "tool_choice: what answers here cannot be made to call a tool"
            if can:
                words = "tool_choice cannot go with response_format, unless it is auto or none"
            raise Refusal(400, words, param="tool_choice", code="unsupported_parameter")
        given["response_format"] = _form(wanted)
        if len(wanted) == 1:
            reader = lambda: FixedReader(wanted[0].name)  # noqa: E731
    return _Asked(
        model=body.model,
        messages=body.chat(hosted=project.is_hosted),
        sampling=sampling_of(given, project.capabilities),
        tools=tools,
        reader=reader,
    )


def _form(wanted: list[Function]) -> dict[str, Any]:
    """The form of an answer that is the arguments of the one function, or a call of one of them.

    (As vLLM has it: a model is made to call by what it may write.)
    """
    schemas = [_arguments(function) for function in wanted]
    schema = schemas[0]
    if len(wanted) > 1:
        calls = [
            {
                "type": "object",
                "properties": {
                    "name": {"const": function.name},
                    "arguments": _moved(own, f"#/anyOf/{place}/properties/arguments"),
                },
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
            for place, (function, own) in enumerate(zip(wanted, schemas, strict=True))
        ]
        schema = {"anyOf": calls}
    named = {"name": "call", "schema": schema, "strict": True}
    return {"type": "json_schema", "json_schema": named}


def _arguments(function: Function) -> dict[str, Any]:
    """The schema of a function's arguments: an object's, even where it does not say so.

    Raises:
        Refusal: 400, it is that of something else.
    """
    schema = function.parameters or {}
    kinds = schema.get("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        words = f"the parameters of {function.name} must be a JSON Schema of the type object"
        raise Refusal(400, words, param="tools", code="invalid_function_parameters")
    return schema | {"type": "object"}


def _moved(schema: Any, root: str) -> Any:
    """A schema that becomes a part of another, at `root`: it refers to its own parts there."""
    if isinstance(schema, Mapping):
        return {
            key: root + value.removeprefix("#")
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, root)
            for key, value in schema.items()
        }
    return [_moved(each, root) for each in schema] if isinstance(schema, list) else schema


def _deltas(project: Project, asked: _Asked, *, streamed: bool) -> Iterator[Delta]:
    # A stream can be left at any piece, so other than a service's whole answers, which are
    # better asked for as such, all answers are streams.
    if project.is_hosted and not streamed:
        return as_deltas(
            project.complete(
                asked.model, asked.messages, sampling=asked.sampling, tools=asked.tools
            )
        )
    return project.stream(asked.model, asked.messages, sampling=asked.sampling, tools=asked.tools)
