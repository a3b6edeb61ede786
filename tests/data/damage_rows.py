"""Kinds of damage to what a row says: its shape, the conversation, tools, weights, preferences."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

from tests.data.mutations import (
    CHATS,
    ROW_KINDS,
    TALK,
    Expected,
    Found,
    Result,
    answers_of,
    call_of,
    calls_of,
    message_of,
    messages_of,
    on_file,
    on_row,
    results_of,
    row_of,
    tool_of,
    tools_of,
)
from tests.data.rows import Row, answer, image, joined, part, spelled, user

NOT_TEXT: tuple[Any, ...] = (0, 2.5, True, {"text": "x"}, {})
BLANK = ("", " ", "\n", "\t \r\n", "\u3000", "\u00a0")

# --- shape ------------------------------------------------------------------------------------


@on_file()
def line_that_is_no_object(rng: Random, lines: list[bytes]) -> Result:
    at = rng.randrange(len(lines))
    lines[at] = rng.choice((b'"text"', b"7", b"true", b"null", b"-0.5e3", b'""', b"[1]", b"[]"))
    return joined(rng, lines), [Expected("FT301", at + 1, "")]


@on_row()
def messages_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    holder = damaged.get("input", damaged)
    holder["messages"] = rng.choice(("hello", 3, None, {"role": "user"}, False))
    yield "FT302", f"{messages_of(damaged)[1]}"


@on_row(*CHATS)
def message_that_is_no_object(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    at = rng.randrange(len(messages) + 1)
    wrong: tuple[Any, ...] = ("hello", 3, None, ["user", "hi"], True)
    messages.insert(at, rng.choice(wrong))
    yield "FT302", f"{where}/{at}"


@on_row()
def content_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["content"] = rng.choice(NOT_TEXT)
    yield "FT302", f"{where}/content"


@on_row(forms=TALK)
def role_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user")
    message["role"] = rng.choice((*NOT_TEXT, None, ["user"]))
    yield "FT302", f"{where}/role"


@on_row(*CHATS, forms=TALK)
def name_that_services_refuse(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["name"] = rng.choice(("Mio M.", "a/b", "", "x" * 65, "<me>", "a|b", "a\\b", "Mio\n"))
    yield "FT312", f"{where}/name"


@on_row(forms=TALK)
def name_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["name"] = rng.choice(NOT_TEXT)
    yield "FT302", f"{where}/name"


@on_row("supervised", forms=["parts", "image"], target="openai")
def part_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user")
    at = rng.randrange(len(message["content"]) + 1)
    message["content"].insert(at, rng.choice(("text", 1, None, ["text"])))
    yield "FT302", f"{where}/content/{at}"


@on_row("supervised", forms=["image"], target="openai")
def image_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    at, where = _image_of(rng, damaged)
    at["image_url"] = at["image_url"]["url"]
    yield "FT302", f"{where}/image_url"


@on_row(*CHATS, forms=["tools", "offered"])
def tools_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    holder = damaged.get("input", damaged)
    holder["tools"] = rng.choice(({}, "get_weather", 1, holder["tools"][0]))
    yield "FT302", tools_of(damaged)[1]


@on_row(*CHATS, forms=["tools", "offered"])
def value_of_a_tool_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    wrong = {"description": 1, "parameters": '{"type": "object"}', "strict": "yes"}
    key = rng.choice(tuple(wrong))
    tool["function"][key] = wrong[key]
    yield "FT302", f"{where}/function/{key}"


@on_row("supervised", forms=["tools", "parallel", "ends calling"])
def call_id_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    del damaged["messages"][[*results_of(damaged)[0], 99][0] :]  # its results would be lost too
    call, where = call_of(rng, damaged)
    call["id"] = rng.choice(NOT_TEXT)
    yield "FT302", f"{where}/id"


@on_row("supervised", forms=["offered", "parallel"])
def parallel_calls_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged["parallel_tool_calls"] = rng.choice(("true", 1, [], {}))
    yield "FT302", "/parallel_tool_calls"


@on_row("supervised")
def no_messages_key(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged[rng.choice(("message", "Messages", "data", "text", "chat"))] = damaged.pop("messages")
    yield "FT303", ""


@on_row("dpo")
def part_of_a_preference_missing(rng: Random, damaged: Row) -> Iterator[Found]:
    del damaged[rng.choice(tuple(damaged))]
    yield "FT303", ""


@on_row("dpo", also="FT304")
def no_messages_in_the_input(rng: Random, damaged: Row) -> Iterator[Found]:
    messages = damaged["input"].pop("messages")
    if rng.random() < 0.5:
        damaged["input"]["message"] = messages
    yield "FT303", "/input"


@on_row(forms=TALK)
def no_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user")
    del message["role"]
    yield "FT303", where


@on_row(forms=TALK)
def no_content(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    del message["content"]
    yield "FT303", where


@on_row(*CHATS, forms=["parts"])
def key_of_a_part_missing(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    at = rng.randrange(len(message["content"]))
    del message["content"][at][rng.choice(("type", "text"))]
    yield "FT303", f"{where}/content/{at}"


@on_row("supervised", forms=["image"], target="openai")
def image_without_url(rng: Random, damaged: Row) -> Iterator[Found]:
    at, where = _image_of(rng, damaged)
    at["image_url"] = {"detail": "low"}
    yield "FT303", f"{where}/image_url"


@on_row(forms=["tools", "offered"], also="FT418")
def key_of_a_tool_missing(rng: Random, damaged: Row) -> Iterator[Found]:
    holder, where = tool_of(rng, damaged)
    key = rng.choice(("type", "function", "name"))
    if key == "name":
        holder, where = holder["function"], f"{where}/function"
    del holder[key]
    yield "FT303", where


@on_row(forms=["tools"])
def key_of_a_call_missing(rng: Random, damaged: Row) -> Iterator[Found]:
    holder, where = call_of(rng, damaged)
    key = rng.choice(("type", "function", "name", "arguments"))
    if key in {"name", "arguments"}:
        holder, where = holder["function"], f"{where}/function"
    del holder[key]
    yield "FT303", where


@on_row(forms=["tools", "parallel"])
def result_without_id(rng: Random, damaged: Row) -> Iterator[Found]:
    places, where = results_of(damaged)
    at = rng.choice(places)
    answered = answers_of(damaged)[0][at].pop("tool_call_id")
    yield "FT303", f"{where}/{at}"
    yield from _unanswered(damaged, answered)


@on_row()
def unknown_key_in_a_row(rng: Random, damaged: Row) -> Iterator[Found]:
    key = rng.choice(("id", "metadata", "source", "Tools", "line", "comment"))
    damaged[key] = rng.choice((1, "x", {"a": []}))
    yield "FT304", f"/{key}"


@on_row(*CHATS)
def unknown_key_in_a_message(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    key = rng.choice(("id", "timestamp", "refusal", "Role", "reasoning_content", "audio"))
    message[key] = rng.choice((1, "x", {"a": []}))
    yield "FT304", f"{where}/{key}"


@on_row(forms=TALK)
def misspelt_content(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    key = rng.choice(("contnet", "Content", "contents", "text", "value"))
    message[key] = message.pop("content")
    yield "FT303", where
    yield "FT304", f"{where}/{key}"


@on_row(*CHATS, forms=["tools", "offered"])
def unknown_key_in_a_tool(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    holder, where = rng.choice(((tool, where), (tool["function"], f"{where}/function")))
    key = rng.choice(("returns", "cache_control", "argument"))
    holder[key] = "x"
    yield "FT304", f"{where}/{key}"


@on_row(*CHATS, forms=["parts"])
def unknown_key_in_a_part(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["content"][0]["cache_control"] = {"type": "ephemeral"}
    yield "FT304", f"{where}/content/0/cache_control"


@on_row(*CHATS)
def key_that_is_training_text(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message[rng.choice(("Where is it?", "電球", "a/b", "~", "", "x" * 33))] = "x"
    yield "FT304", where  # a key that is no plain word is not repeated


@on_row()
def no_messages(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    messages.clear()
    yield "FT305", where


@on_row(*CHATS, forms=TALK)
def no_parts(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["content"] = []
    yield "FT305", f"{where}/content"


@on_row("supervised", forms=["ends calling"])
def no_calls(rng: Random, damaged: Row) -> Iterator[Found]:
    calls, where = calls_of(damaged)
    calls.clear()
    yield "FT305", where


@on_row("dpo")
def no_output(rng: Random, damaged: Row) -> Iterator[Found]:
    key = rng.choice(("preferred_output", "non_preferred_output"))
    damaged[key] = []
    yield "FT305", f"/{key}"


@on_row(forms=TALK, also="FT402 FT416")
def unknown_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message.pop("weight", None)
    message["role"] = rng.choice(("bot", "User", "human", "model", "ASSISTANT", "", "system "))
    yield "FT306", f"{where}/role"


@on_row(*CHATS, forms=["opened"])
def developer_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "system")
    message["role"] = "developer"
    yield "FT307", f"{where}/role"


@on_row("supervised", forms=["parts", "image"], target="openai")
def unknown_part(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    if isinstance(message["content"], str):
        message["content"] = [part(message["content"])]
    kind = rng.choice(("input_audio", "file", "video_url", "Text", "", "refusal"))
    message["content"].append({"type": kind, kind: {"data": "AAAA"}})
    yield "FT308", f"{where}/content/{len(message['content']) - 1}/type"


@on_row("supervised", forms=["image"], target="openai")
def unknown_detail(rng: Random, damaged: Row) -> Iterator[Found]:
    at, where = _image_of(rng, damaged)
    at["image_url"]["detail"] = rng.choice(("hd", "HIGH", "", "medium"))
    yield "FT309", f"{where}/image_url/detail"


@on_row(*CHATS, forms=["tools", "offered"])
def unknown_type_of_tool(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    tool["type"] = rng.choice(("retrieval", "code_interpreter", "Function", ""))
    yield "FT309", f"{where}/type"


@on_row(*CHATS, forms=["offered"])
def name_that_no_tool_can_have(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    tool["function"]["name"] = rng.choice(BAD_NAMES)
    yield "FT309", f"{where}/function/name"


BAD_NAMES = ("get weather", "a.b", "", "x" * 65, "天気", "f\n", "get/weather", "f()")


@on_row(forms=["tools", "parallel"], also="FT418")
def name_that_no_call_can_have(rng: Random, damaged: Row) -> Iterator[Found]:
    call, where = call_of(rng, damaged)
    call["function"]["name"] = rng.choice(BAD_NAMES)
    yield "FT309", f"{where}/function/name"


@on_row(*CHATS, forms=TALK)
def name_is_null(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    key = rng.choice(("name", "refusal", "audio", "tool_calls"))
    message[key] = None
    yield "FT310", f"{where}/{key}"


@on_row(*CHATS, forms=TALK)
def tools_that_are_nothing(rng: Random, damaged: Row) -> Iterator[Found]:
    holder = damaged.get("input", damaged)
    holder["tools"] = rng.choice((None, []))
    yield "FT310", tools_of(damaged)[1]


@on_row("supervised", forms=TALK)
def old_functions(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged["functions"] = [{"name": "find", "parameters": {"type": "object"}}]
    yield "FT311", "/functions"


@on_row("supervised", forms=["plain", "opened"])
def old_function_call(rng: Random, damaged: Row) -> Iterator[Found]:
    messages = damaged["messages"]
    call = {"name": "find", "arguments": "{}"}
    at = len(messages) - 1
    messages.insert(at, {"role": "assistant", "content": None, "function_call": call})
    messages.insert(at + 1, {"role": "function", "name": "find", "content": "1"})
    yield "FT311", f"/messages/{at}/function_call"
    yield "FT307", f"/messages/{at + 1}/role"


@on_file()
def rows_of_a_foreign_shape(rng: Random, lines: list[bytes]) -> Result:
    code, foreign = rng.choice(
        (
            ("FT322", {"instruction": "Add", "input": "1 2", "output": "3"}),
            ("FT322", {"instruction": "Add", "output": "3"}),
            ("FT323", {"conversations": [{"from": "human", "value": "hi"}]}),
        )
    )
    many = sorted(rng.sample(range(len(lines)), rng.randint(1, 5)))
    for at in many:
        lines[at] = json.dumps(foreign).encode()
    return joined(rng, lines), [Expected(code, many[0] + 1, "")]  # once a file


# --- conversation -----------------------------------------------------------------------------


@on_row("supervised", forms=TALK, also="FT402")
def ends_with_another_role(rng: Random, damaged: Row) -> Iterator[Found]:
    messages = damaged["messages"]
    if rng.random() < 0.5:
        messages.append(user(rng, 99))
    else:
        messages.pop()
    yield "FT401", f"/messages/{len(messages) - 1}"


@on_row("supervised", forms=["tools", "parallel"])
def ends_with_a_result(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged["messages"].pop()
    yield "FT401", f"/messages/{len(damaged['messages']) - 1}"


@on_row("supervised", forms=TALK)
def nothing_is_trained(rng: Random, damaged: Row) -> Iterator[Found]:
    spoken = [at for at, one in enumerate(damaged["messages"]) if one["role"] == "assistant"]
    for at in spoken:
        damaged["messages"][at]["weight"] = 0
    yield "FT402", f"/messages/{spoken[-1]}"


@on_row(*CHATS)
def weight_of_another_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user", "system", "tool")
    message["weight"] = rng.choice((0, 1))
    yield "FT403", f"{where}/weight"


@on_row("supervised")
def weight_that_is_neither(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "assistant")
    message["weight"] = rng.choice((2, -1, 0.5, 1.0, 0.0, "1", True, False, [], 10**30))
    yield "FT404", f"{where}/weight"


@on_row(forms=TALK)
def answer_that_is_empty(rng: Random, damaged: Row) -> Iterator[Found]:
    holder = damaged["preferred_output"] if "input" in damaged else damaged["messages"]
    where = answers_of(damaged)[1]
    at = rng.choice([at for at, one in enumerate(holder) if one["role"] == "assistant"])
    blank = rng.choice(BLANK)
    holder[at]["content"] = rng.choice((blank, [part(blank)], [part(blank), part(" ")]))
    yield "FT405", f"{where}/{at}/content"


@on_row(forms=TALK)
def content_that_is_null(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged)
    message["content"] = None
    yield "FT406", f"{where}/content"


@on_row(*CHATS, forms=TALK)
def prompt_that_is_empty(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user", "system")
    blank = rng.choice(BLANK)
    message["content"] = rng.choice((blank, [part(blank)]))
    yield "FT407", f"{where}/content"


@on_row(*CHATS, forms=["plain", "opened", "turns"], also="FT424")
def opens_with_the_assistant(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    at = next(at for at, one in enumerate(messages) if one["role"] == "user")
    messages.insert(at, answer(rng, 1))
    yield "FT408", f"{where}/{at}"


@on_row("supervised", forms=TALK)
def assistant_twice(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    at = rng.choice([at for at, one in enumerate(messages) if one["role"] == "assistant"])
    messages.insert(at, answer(rng, 1))
    yield "FT409", f"{where}/{at + 1}"


@on_row(forms=TALK)
def system_in_the_middle(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    first = next(at for at, one in enumerate(messages) if one["role"] == "user")
    at = rng.randint(first + 1, max(first + 1, len(messages) - 1))
    messages.insert(at, {"role": "system", "content": "Be kind."})
    yield "FT416", f"{where}/{at}"


@on_row(*CHATS, forms=TALK)
def key_of_another_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "user", "system")
    key = rng.choice(("tool_calls", "tool_call_id", "function_call"))
    message[key] = "x"
    yield "FT417", f"{where}/{key}"


@on_row("supervised", forms=["parts", "named", "opened"])
def image_of_another_role(rng: Random, damaged: Row) -> Iterator[Found]:
    message, where = message_of(rng, damaged, "assistant", "system")
    message["content"] = [part("See:"), image(rng, 1)]
    yield "FT415", f"{where}/content/1"


def _image_of(rng: Random, damaged: Row) -> tuple[Row, str]:
    message, where = message_of(rng, damaged, "user")
    parts = message["content"]
    at = rng.choice([at for at, one in enumerate(parts) if one["type"] == "image_url"])
    return parts[at], f"{where}/content/{at}"


# --- tools ------------------------------------------------------------------------------------


def _unanswered(damaged: Row, identity: str) -> Iterator[Found]:
    """What is said of the call that nobody answers any more, in the first message of calls."""
    messages, where = answers_of(damaged)
    for at, message in enumerate(messages):
        for place, call in enumerate(message.get("tool_calls", ())):
            if call["id"] == identity:
                yield "FT411", f"{where}/{at}/tool_calls/{place}"


@on_row(forms=["tools", "parallel"])
def result_of_no_call(rng: Random, damaged: Row) -> Iterator[Found]:
    places, where = results_of(damaged)
    at = rng.choice(places)
    message = answers_of(damaged)[0][at]
    answered = message["tool_call_id"]
    message["tool_call_id"] = rng.choice((f"{answered}x", answered.upper(), "call_0"))
    yield "FT410", f"{where}/{at}/tool_call_id"
    yield from _unanswered(damaged, answered)


@on_row(forms=["tools", "parallel"])
def result_twice(rng: Random, damaged: Row) -> Iterator[Found]:
    places, where = results_of(damaged)
    at = rng.choice(places)
    messages = answers_of(damaged)[0]
    messages.insert(at + 1, copy.deepcopy(messages[at]))
    yield "FT410", f"{where}/{at + 1}/tool_call_id"


@on_row("supervised", forms=["tools", "parallel"])
def result_before_the_call(rng: Random, damaged: Row) -> Iterator[Found]:
    places, where = results_of(damaged)
    message = damaged["messages"].pop(rng.choice(places))
    first = next(at for at, one in enumerate(damaged["messages"]) if one["role"] == "user")
    damaged["messages"].insert(first, message)
    yield "FT410", f"{where}/{first}/tool_call_id"
    yield from _unanswered(damaged, message["tool_call_id"])


@on_row(forms=["tools", "parallel"])
def call_without_result(rng: Random, damaged: Row) -> Iterator[Found]:
    places, _ = results_of(damaged)
    message = answers_of(damaged)[0].pop(rng.choice(places))
    yield from _unanswered(damaged, message["tool_call_id"])


@on_row("supervised", forms=["tools", "parallel"])
def user_between_call_and_result(rng: Random, damaged: Row) -> Iterator[Found]:
    places, where = results_of(damaged)
    at = places[0]
    lost = [one["tool_call_id"] for one in damaged["messages"][at:] if one["role"] == "tool"]
    calls = [call["id"] for call in calls_of(damaged)[0]]
    damaged["messages"].insert(at, user(rng, 1))
    for identity in calls:
        yield from _unanswered(damaged, identity)
        yield "FT410", f"{where}/{at + 1 + lost.index(identity)}/tool_call_id"


@on_row("supervised", forms=["parallel"])
def call_id_twice(rng: Random, damaged: Row) -> Iterator[Found]:
    calls, where = calls_of(damaged)
    second = rng.randrange(1, len(calls))
    lost, calls[second]["id"] = calls[second]["id"], calls[0]["id"]
    yield "FT412", f"{where}/{second}/id"
    places, messages = results_of(damaged)
    at = next(at for at in places if damaged["messages"][at]["tool_call_id"] == lost)
    yield "FT410", f"{messages}/{at}/tool_call_id"


@on_row(forms=["tools", "parallel", "ends calling"])
def arguments_that_are_no_string(rng: Random, damaged: Row) -> Iterator[Found]:
    call, where = call_of(rng, damaged)
    given = json.loads(call["function"]["arguments"])
    call["function"]["arguments"] = rng.choice((given, [given], 1, None, True))
    yield "FT413", f"{where}/function/arguments"


@on_row(forms=["tools", "parallel", "ends calling"])
def arguments_that_hold_no_object(rng: Random, damaged: Row) -> Iterator[Found]:
    call, where = call_of(rng, damaged)
    given = call["function"]["arguments"]
    bad = (given[:-1], f"{given},", "{'city': 'Kyoto'}", "[1]", "null", "", '{"x": NaN}', '"{}"')
    call["function"]["arguments"] = rng.choice(bad)
    yield "FT414", f"{where}/function/arguments"


@on_row(*CHATS, forms=["offered"])
def schema_with_a_number_that_is_none(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    none = rng.choice((float("nan"), float("inf"), float("-inf")))
    tool["function"]["parameters"]["default"] = {"x": [none]}
    yield "FT206", f"{where}/function/parameters/default/x/0"


@on_row(*CHATS, forms=["offered"])
def nested_too_deeply(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    deepest: Any = 1
    least = 62 - where.count("/")  # with the row itself and all around it, 65 levels
    for _ in range(least + rng.choice((0, 0, 1, 30, 300))):
        deepest = rng.choice(([deepest], {"x": deepest}))
    tool["function"]["parameters"]["default"] = deepest
    yield "FT209", None


@on_row(forms=["tools", "parallel", "ends calling"])
def call_of_an_unknown_tool(rng: Random, damaged: Row) -> Iterator[Found]:
    call, where = call_of(rng, damaged)
    call["function"]["name"] = rng.choice(("get_wether", "find_order", "NOW", "functions-now"))
    yield "FT418", f"{where}/function/name"


@on_row(forms=["tools", "parallel", "ends calling"])
def arguments_that_break_the_schema(rng: Random, damaged: Row) -> Iterator[Found]:
    call, where = call_of(rng, damaged)
    name = call["function"]["name"]
    strict = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    for tool in tools_of(damaged)[0]:
        if tool["function"]["name"] == name:
            tool["function"]["parameters"] = strict
    for message in answers_of(damaged)[0]:
        for other in message.get("tool_calls", ()):
            if other["function"]["name"] == name:
                other["function"]["arguments"] = '{"x": -1.5}'
    call["function"]["arguments"] = rng.choice(('{"x": "1"}', "{}", '{"y": 1}', '{"x": null}'))
    yield "FT419", f"{where}/function/arguments"


@on_row(*CHATS, forms=["offered"])
def schema_that_is_broken(rng: Random, damaged: Row) -> Iterator[Found]:
    tool, where = tool_of(rng, damaged)
    tool["function"]["parameters"] = rng.choice(BROKEN_SCHEMAS)
    yield "FT420", f"{where}/function/parameters"


BROKEN_SCHEMAS: tuple[Row, ...] = (
    {"type": "object", "properties": {"x": {"type": "int"}}},
    {"type": "object", "properties": {"x": {"type": "str", "description": "a name"}}},
    {"type": "object", "properties": ["x"]},
    {"type": "object", "properties": {"x": {}}, "required": "x"},
    {"type": "object", "properties": {"x": {"enum": "a, b"}}},
    {"type": "object", "properties": {"x": {"minimum": "0"}}},
    {"type": "object", "properties": {"x": {"pattern": "(["}}},
    {"type": "object", "properties": {"x": {"$ref": "#/definitions/none"}}},
    {"type": "object", "properties": {"x": {"$ref": "https://schemas.lamps.example/x.json"}}},
    {"type": "string"},
    {"type": "array", "items": {}},
    {"type": None},
)


@on_row("supervised", forms=["ends calling"])
def schema_that_is_too_complex(rng: Random, damaged: Row) -> Iterator[Found]:
    endless = rng.random() < 0.1  # finding that out takes a tenth of a second
    schema: Row = {"type": "object", "description": "x" * rng.randint(2**17, 2**18)}
    if endless:
        schema = {rng.choice(("allOf", "anyOf")): [{"$ref": "#"}] * rng.randint(2, 9)}
    for tool in damaged["tools"]:
        tool["function"]["parameters"] = schema
    places = [
        f"{tools_of(damaged)[1]}/{at}/function/parameters" for at in range(len(damaged["tools"]))
    ]
    where = f"{call_of(rng, damaged)[1]}/function/arguments"
    for place in [where] if endless else places:
        yield "FT426", place


@on_row(*CHATS, forms=["offered"])
def tool_declared_twice(rng: Random, damaged: Row) -> Iterator[Found]:
    tools, where = tools_of(damaged)
    again = copy.deepcopy(rng.choice(tools))
    again["function"].pop("description", None)
    tools.append(again)
    yield "FT427", f"{where}/{len(tools) - 1}/function/name"


# --- preferences ------------------------------------------------------------------------------


def _output(rng: Random) -> str:
    return rng.choice(("preferred_output", "non_preferred_output"))


@on_row("dpo", forms=TALK)
def output_without_the_assistant(rng: Random, damaged: Row) -> Iterator[Found]:
    key = _output(rng)
    damaged[key] = [user(rng, 1)]
    yield "FT421", f"/{key}"
    yield "FT422", f"/{key}/0"


@on_row("dpo", forms=TALK)
def other_role_in_an_output(rng: Random, damaged: Row) -> Iterator[Found]:
    key = _output(rng)
    role = rng.choice(("user", "system"))
    at = rng.randint(0, 1)
    damaged[key].insert(at, {"role": role, "content": "And then?"})
    yield "FT422", f"/{key}/{at}"


@on_row("dpo")
def output_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    key = _output(rng)
    damaged[key] = rng.choice(("Yes.", {"role": "assistant", "content": "Yes."}, None, 1))
    yield "FT302", f"/{key}"


@on_row("dpo")
def equal_outputs(rng: Random, damaged: Row) -> Iterator[Found]:
    same = copy.deepcopy(damaged["preferred_output"])
    damaged["non_preferred_output"] = [dict(reversed(one.items())) for one in same]
    yield "FT423", "/non_preferred_output"


@on_row("dpo", forms=TALK)
def input_that_ends_with_the_assistant(rng: Random, damaged: Row) -> Iterator[Found]:
    messages, where = messages_of(damaged)
    messages.append(answer(rng, 1))
    yield "FT424", f"{where}/{len(messages) - 1}"


# --- together ---------------------------------------------------------------------------------


@on_file("supervised")
def several_mistakes(rng: Random, lines: list[bytes]) -> Result:
    known = [kind for kind in ROW_KINDS if "supervised" in kind.methods]
    expected = []
    for at in rng.sample(range(len(lines)), rng.randint(2, len(lines))):
        kind = rng.choice(known)
        damaged = row_of(rng, "supervised", kind.forms, serial=-at)
        expected += [Expected(code, at + 1, where) for code, where in kind.function(rng, damaged)]
        lines[at] = spelled(rng, damaged)
    return joined(rng, lines), expected


# --- prompts and completions ------------------------------------------------------------------


@on_row("completion")
def completion_that_is_empty(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged["completion"] = rng.choice(BLANK)
    yield "FT431", "/completion"


@on_row("completion")
def completion_that_goes_on_in_the_word(rng: Random, damaged: Row) -> Iterator[Found]:
    damaged["prompt"] = f"{damaged['prompt']} and so"
    damaged["completion"] = f"on{damaged['completion']}"
    yield "FT432", "/completion"


@on_row("completion")
def completion_of_another_type(rng: Random, damaged: Row) -> Iterator[Found]:
    key = rng.choice(("prompt", "completion"))
    damaged[key] = rng.choice((*NOT_TEXT, None, ["x"]))
    yield "FT302", f"/{key}"


@on_row("completion")
def unknown_key_beside_a_completion(rng: Random, damaged: Row) -> Iterator[Found]:
    key = rng.choice(("id", "label", "score"))
    damaged[key] = 1
    yield "FT304", f"/{key}"


@on_row("completion")
def completion_without_prompt(rng: Random, damaged: Row) -> Iterator[Found]:
    del damaged[rng.choice(("prompt", "completion"))]
    yield "FT303", ""
