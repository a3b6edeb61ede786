import json
import os
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.arms import Arm
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.rescue import rescue
from ftjobs.evals.stored import Stored
from ftjobs.schema import ChatMessage, Sampling


def prompt(text: str, system: str | None = None) -> Prompt:
    own = () if system is None else (ChatMessage(role="system", content=system),)
    return Prompt((*own, ChatMessage(role="user", content=text)))


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend(answers={"1": "one", "2": "two"}, models=["old", "other"])


def rescued(backend: FakeBackend, path: Path, **how: Any) -> Path:
    rescue(backend, how.pop("model", "old"), [prompt("1", "s"), prompt("2")], path, **how)
    return path


def test_answers_that_were_rescued(backend: FakeBackend, tmp_path: Path) -> None:
    stored = Stored.read(rescued(backend, tmp_path / "a.jsonl"))
    arm = Arm("old", stored.model, stored=stored)
    answer = arm.stored_answer(prompt("1", "s"))
    assert answer is not None
    assert (answer.text, answer.seconds, answer.finish_reason) == ("one", None, "stop")
    assert (stored.model, stored.answers, stored.name) == ("old", 2, "a.jsonl")
    assert stored.sampling == Sampling(temperature=0)
    assert arm.stored_answer(prompt("1", "s"), 1) is None
    assert arm.stored_answer(prompt("3")) is None


def test_a_system_message_may_differ_where_only_one_conversation_is_meant(tmp_path: Path) -> None:
    def said(system: str, answer: str) -> dict[str, Any]:
        return {"system": system, "prompt": "q", "answer": answer}

    one = Stored.read(lines(tmp_path / "one.jsonl", said("s", "a")))
    assert one.find(prompt("q").messages) == one.find(prompt("q", "t").messages)
    assert one.find(prompt("q").messages) is not None
    two = Stored.read(lines(tmp_path / "two.jsonl", said("s", "a"), said("t", "b")))
    assert two.find(prompt("q").messages) is None
    found = two.find(prompt("q", "t").messages)
    assert found is not None
    assert found.text == "b"


def test_several_answers_are_samples_in_their_order(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "answer": text} for text in "abc"]
    stored = Stored.read(lines(tmp_path / "a.jsonl", *rows))
    found = [stored.find(prompt("q").messages, sample) for sample in range(4)]
    assert [None if each is None else each.text for each in found] == ["a", "b", "c", None]


def test_any_prompt_file_can_hold_answers(tmp_path: Path) -> None:
    user = {"role": "user", "content": "q"}
    call = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    for row, text in (
        ({"messages": [user], "answer": "a"}, "a"),
        ({"messages": [user], "expected": "wanted", "answer": "a"}, "a"),
        ({"messages": [user, {"role": "assistant", "content": "a"}]}, "a"),
        ({"messages": [user], "calls": [call]}, ""),
    ):
        found = Stored.read(lines(tmp_path / "a.jsonl", row)).find(prompt("q").messages)
        assert found is not None
        assert found.text == text
        assert found.tool_calls == ((call,) if "calls" in row else ())
    (tmp_path / "a.csv").write_text("question,answer\nq,a\n", "utf-8")
    assert Stored.read(tmp_path / "a.csv").find(prompt("q").messages) is not None


def test_answers_of_several_models_have_to_be_told_apart(
    backend: FakeBackend, tmp_path: Path
) -> None:
    path = rescued(backend, tmp_path / "a.jsonl")
    rescued(backend, path, model="other")
    with pytest.raises(ConfigError, match="answers of old, other"):
        Stored.read(path)
    assert Stored.read(path, model="other").model == "other"
    with pytest.raises(ConfigError, match="no answer of third"):
        Stored.read(path, model="third")


def test_answers_drawn_in_several_ways_have_to_be_told_apart(
    backend: FakeBackend, tmp_path: Path
) -> None:
    path = rescued(backend, tmp_path / "a.jsonl")
    hot = Sampling(temperature=1, n=2)
    rescued(backend, path, sampling=hot)
    with pytest.raises(ConfigError, match="drawn in 2 ways"):
        Stored.read(path, sampling=Sampling(temperature=0.5))
    stored = Stored.read(path, sampling=hot)
    assert stored.answers == 4
    assert stored.find(prompt("2").messages, 1) is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"prompt": "q"}\n', "a.jsonl:1: there is no answer"),
        ('{"prompt": "q", "answer": "a"}\n{"answer": "a"}\n', "a.jsonl:2: messages is a list"),
        ('{"prompt": "q", "answer": null, "expected": "e"}\n', "a.jsonl:1: there is no answer"),
        ('{"prompt": "q", "answer": 7, "expected": "e"}\n', "a.jsonl:1: answer is a text"),
        (
            '{"prompt": "q", "answer": "a"}\n{"prompt": "r", "expected": "e"}\n',
            "a.jsonl:2: there is no answer",
        ),
        ('{"prompt": "q", "output": "a", "expected": "e"}\n', "a.jsonl:1: expected and output"),
        ('{"prompt": "q", "answer": "a", "calls": [{"name": "f"}]}\n', "made, or expected"),
        ("x\n", "a.jsonl:1: not JSON"),
        ("", "holds no answer"),
        ('{"object":"stored.answer","prompt":"q"}', "not as it was written"),
        ('{"object": "stored.answer", "prompt": 3}\n', "not a stored answer"),
    ],
)
def test_files_that_hold_no_answers(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text, "utf-8")
    with pytest.raises((DatasetError, ConfigError), match=words):
        Stored.read(path)


def test_a_cell_without_an_answer_is_not_taken_for_the_expected_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,expected,answer\nq,gold,mine\nr,gold,\n", "utf-8")
    with pytest.raises(DatasetError, match=r"a\.csv:3: there is no answer"):
        Stored.read(path)


def test_a_pipe_is_no_file_of_answers(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError):
            Stored.read(path)
