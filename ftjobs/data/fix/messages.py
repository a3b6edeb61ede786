"""Repairs of rows and conversations: FT3xx and FT4xx."""

from __future__ import annotations

from ftjobs.data.fix.edits import Edit, Fix, Row, Value, quoted, without
from ftjobs.data.scan import Finding
from ftjobs.data.shape import ROLES, UNCONFIRMED_ROLES, holds_object

_HEAD = ("system", "developer")
_WEIGHTS = {"true": "1", "false": "0", '"1"': "1", '"0"': "0"}


def role_case(row: Row, finding: Finding) -> Fix | None:
    """FT306: a known role in capitals or with spaces around it."""
    role = row.value(finding.at)
    name = (row.string(role) or "").strip().lower()
    if role is None or name not in {*ROLES, *UNCONFIRMED_ROLES}:
        return None
    return Fix("wrote the role in lower case", (Edit(role.start, role.end, quoted(name)),))


def new_role(row: Row, finding: Finding) -> Fix | None:
    """FT307: developer becomes system; function becomes tool, with the id of the call before."""
    role = row.value(finding.at)
    if role is None or role.parent is None:
        return None
    if row.string(role) == "developer":
        return Fix("made the developer the system", (Edit(role.start, role.end, '"system"'),))
    call = _call_before(row, role.parent)
    if call is None:
        return None
    new = '"tool"'
    if role.parent.get("tool_call_id") is None:
        new += f', "tool_call_id": {call}'
    return Fix("made the function's result a tool's", (Edit(role.start, role.end, new),))


def _call_before(row: Row, message: Value) -> str | None:
    """The id of the one call in the message before this one, as JSON."""
    before = message.before
    if before is None:
        return None
    if before.get("function_call") is not None:
        return _invented(before)
    calls = before.get("tool_calls")
    given = calls.children[0].get("id") if calls and len(calls.children) == 1 else None
    return row.raw(given) if row.string(given) is not None else None


def _invented(message: Value) -> str:
    """An id for the only call of a message; it has to be unique only there."""
    return f'"call_{message.place}"'


def left_out(row: Row, finding: Finding) -> Fix | None:
    """FT310 and FT403: the key is left out."""
    value = row.value(finding.at)
    if value is None or value.key is None:
        return None
    return Fix("left the key out", (without(row.text, value),))


def new_calls(row: Row, finding: Finding) -> Fix | None:
    """FT311: functions become tools, and a function call a tool call."""
    value = row.value(finding.at)
    if value is None or value.parent is None or not value.children:
        return None
    if value.key == "functions" and value.parent.get("tools") is None:
        return _tools(row, value)
    if value.key == "function_call" and value.parent.get("tool_calls") is None:
        return _tool_calls(row, value, value.parent)
    return None


def _tools(row: Row, functions: Value) -> Fix | None:
    items = functions.children
    if not all(row.text[item.start] == "{" for item in items):
        return None
    edits = [_key(row, functions, "tools")]
    for item in items:
        edits += _around(item, '{"type": "function", "function": ', "}")
    return Fix("made the functions tools", tuple(edits))


def _tool_calls(row: Row, call: Value, message: Value) -> Fix | None:
    if {one.key for one in call.children} != {"name", "arguments"}:
        return None
    start = f'[{{"id": {_invented(message)}, "type": "function", "function": '
    edits = (_key(row, call, "tool_calls"), *_around(call, start, "}]"))
    return Fix("made the function call a tool call", edits)


def _key(row: Row, member: Value, name: str) -> Edit:
    colon = row.text.rindex('"', member.key_start, member.start)
    return Edit(member.key_start, colon + 1, quoted(name))


def _around(value: Value, before: str, after: str) -> tuple[Edit, Edit]:
    return Edit(value.start, value.start, before), Edit(value.end, value.end, after)


def until_assistant(row: Row, finding: Finding) -> Fix | None:
    """FT401: what follows the last assistant message goes."""
    last = row.value(finding.at)
    turns = last.parent.children if last is not None and last.parent is not None else []
    spoken = [turn for turn in turns if row.string(turn.get("role")) == "assistant"]
    if last is None or not spoken:
        return None
    edit = Edit(spoken[-1].end, last.end)
    return Fix("removed what follows the last assistant message", (edit,))


def weight(row: Row, finding: Finding) -> Fix | None:
    """FT404: what equals 0 or 1, as an integer."""
    value = row.value(finding.at)
    raw = row.raw(value)
    new = _WEIGHTS.get(raw) or _whole(raw)
    if value is None or new is None:
        return None
    return Fix(f"wrote the weight as {new}", (Edit(value.start, value.end, new),))


def _whole(raw: str) -> str | None:
    try:
        number = float(raw)
    except ValueError:
        return None
    return str(int(number)) if number in (0, 1) else None


def joined(row: Row, finding: Finding) -> Fix | None:
    """FT409: two assistant messages that differ only in their text become one, with a blank
    line between the texts.
    """
    second = row.value(finding.at)
    first = second.before if second is not None else None
    if first is None or second is None:
        return None
    one, two = first.get("content"), second.get("content")
    if one is None or two is None or _beside(row, first) != _beside(row, second):
        return None
    if row.string(one) is None or row.string(two) is None:
        return None
    text = f"{row.raw(one)[:-1]}\\n\\n{row.raw(two)[1:]}"
    edits = (Edit(one.start, one.end, text), without(row.text, second))
    return Fix("joined it to the message before", edits)


def _beside(row: Row, message: Value) -> dict[str | None, str]:
    return {one.key: row.raw(one) for one in message.children if one.key != "content"}


def dumped(row: Row, finding: Finding) -> Fix | None:
    """FT413: an object becomes a string that holds it, with its numbers as they are spelt."""
    value = row.value(finding.at)
    raw = row.raw(value)
    if value is None or not raw.startswith("{") or not holds_object(raw):
        return None
    if any(one.earlier is not None for one in value):
        return None
    return Fix("dumped the arguments to a string", (Edit(value.start, value.end, quoted(raw)),))


def no_arguments(row: Row, finding: Finding) -> Fix | None:
    """FT414: no text at all becomes no arguments."""
    value = row.value(finding.at)
    if value is None or (row.string(value) or "").strip():
        return None
    return Fix("wrote {} for no arguments", (Edit(value.start, value.end, '"{}"'),))


def system_first(row: Row, finding: Finding) -> Fix | None:
    """FT416: all system messages of the list move before the others; both keep their order."""
    value = row.value(finding.at)
    if value is None or value.parent is None:
        return None
    if row.first.setdefault((finding.code, value.parent.start), finding) != finding:
        return None  # what is done for the first moves this one too
    turns = value.parent.children
    order = sorted(turns, key=lambda turn: row.string(turn.get("role")) not in _HEAD)
    edits = [
        Edit(turn.start, turn.end, row.raw(source))
        for turn, source in zip(turns, order, strict=True)
        if turn is not source
    ]
    return Fix("moved the system messages to the front", tuple(edits)) if edits else None


def equal_pair(_row: Row, _finding: Finding) -> Fix | None:
    """FT423: two equal answers."""
    return Fix("both outputs are equal", drop=True)
