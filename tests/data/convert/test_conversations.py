"""ShareGPT and ChatGPT: what is not understood is dropped with a reason, never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.convert.writers import asked, assistant, converted, user


def one(tmp_path: Path, row: Any) -> tuple[list[Any], str, str]:
    """The example of one row, or the reason and detail of why there is none."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(row), "utf-8")
    found, report = converted(path)
    if found:
        return found, "", ""
    return [], report.dropped[0].reason, report.dropped[0].places[0].detail


# --- ShareGPT ---------------------------------------------------------------------------------

ASKED = {"from": "human", "value": "a"}
SAID = {"from": "gpt", "value": "b"}
CALL = {"from": "function_call", "value": '{"name": "f", "arguments": "{\\"x\\": 1.0}"}'}
SEEN = {"from": "observation", "value": {"y": 2}}


def test_arguments_that_are_text_stay_as_they_are(tmp_path: Path) -> None:
    (found,), *_ = one(tmp_path, {"conversations": [ASKED, CALL, SEEN, SAID], "tools": "[]"})
    assert found["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"x": 1.0}'
    assert found["messages"][2]["content"] == '{"y": 2}'
    assert "tools" not in found


def test_speakers_in_other_words(tmp_path: Path) -> None:
    talk = [
        {"from": "User", "value": "a"},
        {"role": "model", "content": "b", "weight": 0},
        ASKED,
        SAID,
    ]
    (found,), *_ = one(tmp_path, {"conversations": talk})
    assert found["messages"] == [
        user("a"),
        {**assistant("b"), "weight": 0},
        user("a"),
        assistant("b"),
    ]


@pytest.mark.parametrize(
    ("talk", "reason", "detail"),
    [
        ([], "empty conversation", ""),
        ("x", "conversations holds no valid JSON", ""),
        ({"a": 1}, "conversations is no list", "an object"),
        ([ASKED, "x"], "turn is no object", "turn 2 is a string"),
        (
            [ASKED, {"from": "narrator", "value": "x"}],
            "unknown speaker",
            'turn 2 is from one named "narrator"',
        ),
        (
            [ASKED, {"from": "a b", "value": "x"}],
            "unknown speaker",
            "turn 2 is from one named of 3 characters",
        ),
        ([ASKED, {"value": "x"}], "unknown speaker", "turn 2 is from one named of null"),
        ([ASKED, {"from": "gpt"}], "empty turn", "turn 2"),
        ([ASKED, {"from": "gpt", "value": ["x"]}], "value is no text", "the turn 2 is a list"),
        (
            [ASKED, {"from": "gpt", "value": " "}],
            "FT405 assistant says nothing",
            "the assistant's content is empty",
        ),
        ([ASKED, SEEN], "tool result without a call", "turn 2"),
        ([ASKED, CALL, SEEN, SEEN, SAID], "tool result without a call", "turn 4"),
        (
            [ASKED, CALL, SAID],
            "FT411 tool call without a result",
            "no tool message answers this call",
        ),
        ([ASKED, {**CALL, "value": "f(x)"}], "function_call holds no valid JSON", ""),
        ([ASKED, {**CALL, "value": "[1]"}], "function_call without name and arguments", "turn 2"),
        (
            [ASKED],
            "FT401 last message is not the assistant's",
            'the last message has the role "user"',
        ),
    ],
)
def test_conversations_that_are_dropped(
    tmp_path: Path, talk: Any, reason: str, detail: str
) -> None:
    found, why, more = one(tmp_path, {"conversations": talk})
    assert (found, why) == ([], reason)
    assert detail in more


def test_keys_of_a_turn_that_are_lost_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"id": 7, "conversations": [{**ASKED, "mood": "x"}, SAID]}))
    found, report = converted(path)
    assert found == [asked("a", "b")]
    assert report.notes[0].reason == "keys of a turn that are not used"
    assert report.unused == ("id",)


# --- ChatGPT ----------------------------------------------------------------------------------


def node(parent: str | None, role: str, *parts: Any, **more: Any) -> dict[str, Any]:
    message = {
        "author": {"role": role},
        "content": {"content_type": "text", "parts": list(parts)},
        "recipient": "all",
    }
    return {"parent": parent, "message": {**message, **more}}


def export(current: str | None = "c", **nodes: Any) -> dict[str, Any]:
    tree = {
        "a": {"parent": None, "message": None},
        "b": node("a", "user", "question"),
        "c": node("b", "assistant", "ans", "wer"),
    }
    return {"mapping": {**tree, **nodes}, "current_node": current}


def test_a_conversation(tmp_path: Path) -> None:
    assert one(tmp_path, [export()])[0] == [asked("question", "answer")]


def test_only_what_both_said_is_kept(tmp_path: Path) -> None:
    hidden = {"metadata": {"is_visually_hidden_from_conversation": True}}
    thought = {"content": {"content_type": "thoughts", "thoughts": []}}
    row = export(
        "k",
        d=node("c", "system", "secret"),
        e=node("d", "user", "secret", **hidden),
        f=node("e", "user", "draw", weight=1),
        g=node("f", "assistant", "superseded", weight=0),
        h=node("g", "assistant", "print(1)", recipient="python"),
        i=node("h", "tool", "1"),
        j=node("i", "assistant", **thought),
        k=node("j", "assistant", "done"),
    )
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([row]))
    found, report = converted(path)
    assert found == [
        {"messages": [user("question"), assistant("answer"), user("draw"), assistant("done")]}
    ]
    assert {note.reason for note in report.notes} == {
        "messages to tools left out",
        "messages of tools left out",
        "reasoning left out",
    }


IMAGE = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://x"}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (export(b=node("c", "user", "x")), "the messages form a circle"),
        (export("z"), "a message's parent is missing"),
        (export(None), "no current_node"),
        (export("a"), "empty conversation"),
        (export(b=node("gone", "user", "x")), "a message's parent is missing"),
        (export(b=node(["a"], "user", "x")), "a message's parent is missing"),  # type: ignore[arg-type]
        (export(b=node("a", "user", "look", IMAGE)), "part that is no text"),
        (export(b=node("a", "user", 7)), "part that is no text"),
        (export(b=node("a", "user", content=None)), "message without content"),
        (export(b=node("a", "user", content={"content_type": "text"})), "message without parts"),
        (export(b=node("a", "user", content={"content_type": "code"})), "content that is no text"),
        (export(c=node("b", "assistant", "")), "FT405 assistant says nothing"),
        ({"mapping": [], "current_node": "a"}, "mapping is no object"),
    ],
)
def test_exports_that_are_dropped(tmp_path: Path, row: Any, reason: str) -> None:
    assert one(tmp_path, [row])[:2] == ([], reason)


def test_a_very_long_conversation(tmp_path: Path) -> None:
    nodes = {
        str(n): node(str(n - 1) if n else None, "assistant" if n % 2 else "user", "x")
        for n in range(20_000)
    }
    (found,), *_ = one(tmp_path, [{"mapping": nodes, "current_node": "19999"}])
    assert len(found["messages"]) == 20_000


def test_a_row_without_conversations_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"conversations": [ASKED, SAID]}, {}, {"conversations": None}]))
    _, report = converted(path)
    assert [(one.reason, one.count) for one in report.dropped] == [("no conversations", 2)]
