"""The rules of a conversation, for the slow tier: order, tools, weights (FT4xx).

Every rule is a function of the turns and passes over what `shape` has already reported.  To add
a rule: its code in `rules`, its function here and in `_ANYWHERE` or in the rows that it is for,
its test in `fast`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ftjobs.data.scan import Finding, Node
from ftjobs.data.shape import ROLES, UNCONFIRMED_ROLES, arguments_of, says
from ftjobs.data.toolschema import Schema, call_faults, schema_of

_HEAD = ("system", "developer")


class Turn(NamedTuple):
    """A message.  `role` is "" where it is missing or no string."""

    node: Node
    role: str

    @property
    def content(self) -> Node | None:
        """What is said, if the key is there."""
        return self.node.keys.get("content")

    @property
    def calls(self) -> bool:
        """Whether the message calls tools, in the new way or the old."""
        keys = self.node.keys
        return any(
            name in keys and keys[name].value is not None
            for name in ("tool_calls", "function_call")
        )


Rule = Callable[[Sequence[Turn]], Iterator[Finding]]


def turns_of(messages: Node | None) -> list[Turn]:
    """The messages of a list that are objects."""
    turns = []
    for node in messages.items if messages is not None else ():
        if isinstance(node.value, dict):
            role = node.keys.get("role")
            name = role.value if role is not None and isinstance(role.value, str) else ""
            turns.append(Turn(node, name))
    return turns


def is_blank(content: Node) -> bool:
    """Whether a string, or every part of a list, is text without a visible character."""
    if isinstance(content.value, str):
        return not content.value or content.value.isspace()
    texts = [part.keys.get("text") for part in content.items]
    return bool(texts) and all(
        part is not None and isinstance(part.value, str) and is_blank(part) for part in texts
    )


def ends_with_assistant(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT401."""
    if turns and turns[-1].role in {*ROLES, *UNCONFIRMED_ROLES} - {"assistant"}:
        last = turns[-1]
        yield from says("FT401", last.node, f'the last message has the role "{last.role}"')


def is_trained(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT402."""
    spoken = [turn.node for turn in turns if turn.role == "assistant"]
    weights = [node.keys["weight"].value if "weight" in node.keys else 1 for node in spoken]
    if spoken and all(type(weight) is int and weight == 0 for weight in weights):
        yield from says("FT402", spoken[-1], "every assistant message has weight 0")


def says_something(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT405, FT406, FT407, and FT303 for an assistant message without content or calls."""
    for turn in turns:
        content = turn.content
        if turn.role == "assistant" and turn.calls:
            continue
        if content is None:
            if turn.role == "assistant":
                yield from says("FT303", turn.node, 'assistant message has no key "content"')
        elif content.value is None:
            yield from says("FT406", content, "content is null")
        elif is_blank(content) and turn.role == "assistant":
            yield from says("FT405", content, "the assistant's content is empty")
        elif is_blank(content) and turn.role in {*_HEAD, "user"}:
            yield from says("FT407", content, f"the content of this {turn.role} message is empty")


def opens_with_user(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT408."""
    first = next((turn for turn in turns if turn.role not in _HEAD), None)
    if first is not None and first.role == "assistant":
        yield from says("FT408", first.node, "the assistant speaks before the user")


def takes_turns(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT409."""
    for before, turn in itertools.pairwise(turns):
        if before.role == turn.role == "assistant" and not before.calls:
            yield from says("FT409", turn.node, "two assistant messages in a row")


def system_comes_first(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT416."""
    for turn in itertools.dropwhile(lambda turn: turn.role in _HEAD, turns):
        if turn.role in _HEAD:
            yield from says("FT416", turn.node, f"{turn.role} message after the first other one")


def calls_are_answered(turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT410, FT411 and FT412.  The calls of the last message need no answer."""
    waiting: dict[str, Node] = {}
    for turn in turns:
        if turn.role == "tool":
            yield from _answer(turn, waiting)
            continue
        yield from _unanswered(waiting)
        waiting = {}
        if turn.role == "assistant":
            yield from _call(turn, waiting)
    if turns and turns[-1].role != "assistant":
        yield from _unanswered(waiting)


def _answer(turn: Turn, waiting: dict[str, Node]) -> Iterator[Finding]:
    given = turn.node.keys.get("tool_call_id")
    if given is None or not isinstance(given.value, str):
        return
    if given.value not in waiting:
        yield from says("FT410", given, "no open tool call has this tool_call_id")
    waiting.pop(given.value, None)


def _unanswered(waiting: dict[str, Node]) -> Iterator[Finding]:
    for call in waiting.values():
        yield from says("FT411", call, "no tool message answers this call")


def _call(turn: Turn, waiting: dict[str, Node]) -> Iterator[Finding]:
    calls = turn.node.keys.get("tool_calls")
    for call in calls.items if calls is not None else ():
        given = call.keys.get("id")
        if given is None or not isinstance(given.value, str):
            continue
        if given.value in waiting:
            yield from says("FT412", given, "another call of this message has the same id")
        waiting[given.value] = call


# --- the tools of a row -----------------------------------------------------------------------


def tools(given: Node | None, turns: Sequence[Turn]) -> Iterator[Finding]:
    """FT418 to FT420, FT426 and FT427: the tools that a row declares, and every call of them.

    A row without tools is not held against any: its tools may be given when it is asked.
    """
    if given is None or not given.items:
        return
    declared: dict[str, Schema | None] = {}
    for tool in given.items:
        yield from _declare(tool.keys.get("function"), declared)
    for turn in turns:
        calls = turn.node.keys.get("tool_calls")
        for call in calls.items if calls is not None else ():
            yield from _called(call.keys.get("function"), declared)


def _declare(function: Node | None, declared: dict[str, Schema | None]) -> Iterator[Finding]:
    keys = function.keys if function is not None else {}
    parameters, schema = keys.get("parameters"), None
    if parameters is not None and isinstance(parameters.value, dict):
        schema = schema_of(members_of(parameters))
        if schema.fault is not None:
            yield from says(schema.fault.code, parameters, schema.fault.message)
    name = keys.get("name")
    if name is not None and isinstance(name.value, str):
        if name.value in declared:
            yield from says("FT427", name, "another tool of this row has the same name")
        declared[name.value] = schema


def _called(function: Node | None, declared: dict[str, Schema | None]) -> Iterator[Finding]:
    keys = function.keys if function is not None else {}
    name, given = keys.get("name"), keys.get("arguments")
    if name is None or not isinstance(name.value, str):
        return
    text = given.value if given is not None else None
    arguments = arguments_of(text) if isinstance(text, str) else None
    for code, message in call_faults(name.value, arguments, declared):
        yield from says(code, name if code == "FT418" or given is None else given, message)


# --- rows -------------------------------------------------------------------------------------

_ANYWHERE: tuple[Rule, ...] = (says_something, system_comes_first, opens_with_user, takes_turns)
_CHAT: tuple[Rule, ...] = (*_ANYWHERE, ends_with_assistant, is_trained, calls_are_answered)
_ITEM: tuple[Rule, ...] = (*_ANYWHERE, calls_are_answered)


def chat(row: Node) -> Iterator[Finding]:
    """Every rule over a row of supervised chat."""
    yield from _conversation(row, _CHAT)


def reinforcement(row: Node) -> Iterator[Finding]:
    """Every rule over a row of reinforcement fine-tuning, which ends with the user."""
    yield from _conversation(row, _ITEM)


def _conversation(row: Node, rules: Sequence[Rule]) -> Iterator[Finding]:
    turns = turns_of(row.keys.get("messages"))
    for rule in rules:
        yield from rule(turns)
    yield from tools(row.keys.get("tools"), turns)


def completion(row: Node) -> Iterator[Finding]:
    """FT431 and FT432, over a legacy row."""
    prompt, answer = row.keys.get("prompt"), row.keys.get("completion")
    if answer is None or not isinstance(answer.value, str):
        return
    if is_blank(answer):
        yield from says("FT431", answer, "the completion is empty")
    elif run_together(prompt.value if prompt is not None else None, answer.value):
        message = "nothing separates the end of the prompt from the completion"
        yield from says("FT432", answer, message)


def run_together(prompt: object, completion: str) -> bool:
    """Whether a word of the prompt goes on in the completion, in a script that has spaces."""
    if not isinstance(prompt, str):
        return False
    ends, begins = prompt[-1:], completion[:1]
    return (ends + begins).isascii() and ends.isalnum() and begins.isalnum()


def preference(row: Node) -> Iterator[Finding]:
    """Every rule over a row of DPO."""
    given = row.keys.get("input")
    asked = turns_of(given.keys.get("messages") if given is not None else None)
    for rule in _ANYWHERE:
        yield from rule(asked)
    if asked and asked[-1].role == "assistant":
        yield from says("FT424", asked[-1].node, "the input ends with an assistant message")
    outputs = [row.keys.get(name) for name in ("preferred_output", "non_preferred_output")]
    for output in outputs:
        yield from _output(output, asked)
    spoken = [*asked, *(turn for output in outputs for turn in turns_of(output))]
    yield from tools(given.keys.get("tools") if given is not None else None, spoken)
    yield from _without_images(asked)
    yield from _differ(row)


def _without_images(turns: Sequence[Turn]) -> Iterator[Finding]:
    for turn in turns:
        for part in turn.content.items if turn.content is not None else ():
            kind = part.keys.get("type")
            if turn.role == "user" and kind is not None and kind.value == "image_url":
                yield from says("FT425", part, "preference examples are text only")


def _output(output: Node | None, asked: Sequence[Turn]) -> Iterator[Finding]:
    turns = turns_of(output)
    yield from says_something(turns)
    yield from calls_are_answered([*asked, *turns])
    for turn in turns:
        if turn.role in {*ROLES, *UNCONFIRMED_ROLES} - {"assistant", "tool"}:
            yield from says("FT422", turn.node, f'an output cannot have the role "{turn.role}"')
    if output is not None and turns and not any(turn.role == "assistant" for turn in turns):
        yield from says("FT421", output, "no assistant message in this output")


def _differ(row: Node) -> Iterator[Finding]:
    outputs = [row.keys.get(name) for name in ("preferred_output", "non_preferred_output")]
    first, second = outputs
    if first is not None and second is not None and first.items and plain(first) == plain(second):
        yield from says("FT423", second, "both outputs are equal")


def members_of(node: Node) -> dict[str, object]:
    """An object without places."""
    return {name: plain(child) for name, child in node.keys.items()}


def plain(node: Node) -> object:
    """The value without places, as `json.loads` would give it."""
    if isinstance(node.value, dict):
        return members_of(node)
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value
