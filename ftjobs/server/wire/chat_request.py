"""The body of POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from ftjobs.schema import ChatMessage
from ftjobs.server.refusals import Refusal
from ftjobs.server.wire.settings import Asking

__all__ = ["ChatRequest"]

Never = Annotated[Any, WithJsonSchema({"type": "null"})]
"""A field of the wire that would change the answer, and cannot be followed here."""

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class _Open(BaseModel):
    """What clients send back as they got it: fields that are not known are left out."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Part(_Open):
    """A part of a message: text, or what only a service that answers may see."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str
    text: str | None = None


class CalledFunction(_Open):
    """What was called, and the arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(_Open):
    """A call that an assistant made."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(_Open):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class Function(_Closed):
    """A function that the model may call; `parameters` is a JSON Schema."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Closed):
    """A tool.  Functions are the only ones here."""

    type: Literal["function"]
    function: Function


class ChosenFunction(_Closed):
    """The name of a function."""

    name: Name


class ChosenTool(_Closed):
    """The tool that is to be called."""

    type: Literal["function"]
    function: ChosenFunction


class ChatRequest(Asking):
    """A question to a model.

    `top_k`, `repetition_penalty`, `min_tokens` and `num_beams` are extensions (`extra_body` of
    OpenAI's clients).  Fields that change no answer are accepted and ignored; those that would
    change it, and cannot be followed, are refused.
    """

    messages: Annotated[list[Message], Field(min_length=1)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ChosenTool | None = None
    parallel_tool_calls: bool | None = None
    modalities: list[Literal["text"]] | None = None

    audio: Never = None
    function_call: Never = None
    functions: Never = None
    moderation: Never = None
    reasoning_effort: Never = None
    verbosity: Never = None
    web_search_options: Never = None

    store: bool | None = Field(None, description="Ignored: no answer is kept.")
    metadata: dict[str, str] | None = Field(None, description="Ignored.")
    service_tier: str | None = Field(None, description="Ignored.")
    safety_identifier: str | None = Field(None, description="Ignored.")
    prompt_cache_key: str | None = Field(None, description="Ignored.")
    prompt_cache_options: dict[str, Any] | None = Field(None, description="Ignored.")
    prompt_cache_retention: str | None = Field(None, description="Ignored.")
    prediction: dict[str, Any] | None = Field(None, description="Ignored: it would only hasten.")

    def settings(self) -> dict[str, Any]:
        """As `Asking.settings`."""
        given = super().settings()
        for name, field in ChatRequest.model_fields.items():
            if field.annotation is Any and getattr(self, name) is not None:
                raise Refusal(400, f"{name} cannot be followed here", param=name,
                              code="unsupported_parameter")  # fmt: skip
        longest = self.max_completion_tokens
        if longest is not None:
            if self.max_tokens not in (None, longest):
                raise Refusal(400, "max_tokens and max_completion_tokens contradict each other",
                              param="max_completion_tokens")  # fmt: skip
            given["max_tokens"] = longest
        if self.response_format == {"type": "text"}:
            del given["response_format"]
        return given

    def chat(self, *, hosted: bool) -> list[ChatMessage]:
        """The conversation as backends want it.

        Templates of local models know the system, which `developer` is a newer name of.

        Raises:
            Refusal: 400 for images and the like, which only a service may see.
        """
        return [
            _chat_message(each, f"messages.{i}", hosted) for i, each in enumerate(self.messages)
        ]

    def offered(self) -> tuple[dict[str, Any], ...]:
        """The tools that the model is shown."""
        if self.tool_choice == "none":
            return ()
        return tuple(tool.model_dump(exclude_none=True) for tool in self.tools or ())

    def wanted(self) -> list[Function]:
        """The functions of which one has to be called; none where the model is free.

        Raises:
            Refusal: 400, there is no such tool.
        """
        if self.tool_choice in (None, "none", "auto"):
            return []
        functions = [tool.function for tool in self.tools or ()]
        if isinstance(self.tool_choice, ChosenTool):
            name = self.tool_choice.function.name
            functions = [each for each in functions if each.name == name][:1]
        if not functions:
            raise Refusal(400, "tool_choice: no such tool is offered", param="tool_choice")
        return functions


def _chat_message(message: Message, place: str, hosted: bool) -> ChatMessage:
    content = message.content
    if content is None and not message.tool_calls:
        raise Refusal(400, f"{place}.content: text is missing", param=f"{place}.content")
    said: str | tuple[Mapping[str, Any], ...] | None
    if isinstance(content, str | None):
        said = content
    else:
        parts = [_part(part, f"{place}.content.{i}", hosted) for i, part in enumerate(content)]
        said = tuple(parts)
    role = "system" if message.role == "developer" and not hosted else message.role
    calls = tuple(call.model_dump() for call in message.tool_calls or ()) or None
    return ChatMessage(
        role=role, content=said, name=message.name, tool_calls=calls,
        tool_call_id=message.tool_call_id,
    )  # fmt: skip


def _part(part: Part, place: str, hosted: bool) -> Mapping[str, Any]:
    if part.type == "text" and part.text is not None:
        return {"type": "text", "text": part.text}
    if part.type == "refusal" and isinstance(words := (part.model_extra or {}).get("refusal"), str):
        return {"type": "text", "text": words}
    if part.type == "text" or not hosted:
        raise Refusal(
            400,
            f"{place}: only parts of the type text, with a text, can be given to this model",
            param=place,
            code="unsupported_content",
        )
    return part.model_dump(exclude_none=True)
