"""ShareGPT: `{"conversations": [{"from", "value"}, …], "system"?, "tools"?}`.

The tags are those of the first exports (human, gpt, system) and of the tools that read them
since (function_call, observation, tool).  A function_call holds `{"name", "arguments"}` as JSON,
or a list of such calls; the observations after it answer them in order.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ftjobs.data.convert.json_rows import parse
from ftjobs.data.convert.rows import UnfitError, is_missing, kind_of, text_of
from ftjobs.data.scan import shown

_TAGS: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "system": "system",
    "function_call": "call",
    "tool_call": "call",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
_KEYS = {"from", "value", "role", "content", "weight"}


def turns(row: Mapping[str, Any], note: Callable[[str, str], None]) -> dict[str, Any]:
    """The example of a row; `note` is told of keys of a turn that are not used.

    Raises:
        UnfitError: a turn is not understood, or a tool result answers no call.
    """
    talk = _list(row.get("conversations"))
    messages: list[dict[str, Any]] = []
    if not is_missing(row.get("system")):
        messages.append({"role": "system", "content": text_of(row["system"], "system")})
    waiting: list[str] = []
    calls = 0
    for at, turn in enumerate(talk, start=1):
        role, value = _turn(turn, at, note)
        if role == "call":
            found = _calls(value, at, calls)
            calls += len(found)
            waiting = [call["id"] for call in found]
            messages.append({"role": "assistant", "content": None, "tool_calls": found})
        elif role == "tool":
            messages.append(_result(value, at, waiting))
        else:
            messages.append({"role": role, "content": _text(value, at)} | _weight(turn, role))
    example: dict[str, Any] = {"messages": messages}
    if not is_missing(row.get("tools")) and row["tools"] not in ([], "[]"):
        example["tools"] = _tools(row["tools"])
    return example


def _list(value: object) -> list[Any]:
    if is_missing(value):
        raise UnfitError("no conversations")
    value = _loaded(value, "conversations")
    if not isinstance(value, list):
        raise UnfitError("conversations is no list", kind_of(value))
    if not value:
        raise UnfitError("empty conversation")
    return value


def _turn(turn: object, at: int, note: Callable[[str, str], None]) -> tuple[str, Any]:
    if not isinstance(turn, Mapping):
        raise UnfitError("turn is no object", f"turn {at} is {kind_of(turn)}")
    tag = turn.get("from", turn.get("role"))
    role = _TAGS.get(tag.strip().lower()) if isinstance(tag, str) else None
    if role is None:
        named = f"of {kind_of(tag)}" if not isinstance(tag, str) else shown(tag)
        raise UnfitError("unknown speaker", f"turn {at} is from one named {named}")
    if any(value is not None for key, value in turn.items() if key not in _KEYS):
        note("keys of a turn that are not used", f"turn {at}")
    return role, turn.get("value", turn.get("content"))


def _text(value: object, at: int) -> str:
    if value is None:
        raise UnfitError("empty turn", f"turn {at}")
    return text_of(value, f"turn {at}")


def _weight(turn: Mapping[str, Any], role: str) -> dict[str, Any]:
    weight = turn.get("weight")
    return {"weight": weight} if role == "assistant" and weight is not None else {}


def _loaded(value: object, what: str) -> Any:
    """A value that may be JSON inside a string."""
    if not isinstance(value, str):
        return value
    try:
        return parse(value)
    except (ValueError, RecursionError):
        raise UnfitError(f"{what} holds no valid JSON") from None


def _calls(value: object, at: int, before: int) -> list[dict[str, Any]]:
    loaded = _loaded(value, "function_call")
    asked = loaded if isinstance(loaded, list) else [loaded]
    return [_call(one, at, f"call_{before + n}") for n, one in enumerate(asked, start=1)]


def _call(call: object, at: int, name: str) -> dict[str, Any]:
    if not isinstance(call, Mapping) or not {"name", "arguments"} <= call.keys():
        raise UnfitError("function_call without name and arguments", f"turn {at}")
    arguments = call["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": name,
        "type": "function",
        "function": {"name": call["name"], "arguments": arguments},
    }


def _result(value: object, at: int, waiting: list[str]) -> dict[str, Any]:
    if not waiting:
        raise UnfitError("tool result without a call", f"turn {at}")
    content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"role": "tool", "tool_call_id": waiting.pop(0), "content": content}


def _tools(value: object) -> list[Any]:
    loaded = _loaded(value, "tools")
    if not isinstance(loaded, list):
        raise UnfitError("tools is no list", kind_of(loaded))
    return [_tool(tool) for tool in loaded]


def _tool(tool: object) -> object:
    if isinstance(tool, Mapping) and "function" not in tool and "name" in tool:
        return {"type": "function", "function": tool}
    return tool
