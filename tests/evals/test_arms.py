from pathlib import Path
from typing import Any

import pytest

from ftjobs.errors import ConfigError
from ftjobs.evals.arms import GREEDY, Arm
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.retrieval import Documents
from ftjobs.evals.stored import Stored
from ftjobs.schema import ChatMessage


def message(role: str, content: Any = None, **more: Any) -> ChatMessage:
    return ChatMessage(role=role, content=content, **more)


def asks(*texts: str, expected: str | None = None, line: int | None = None) -> Prompt:
    """A conversation of these texts, the user's first."""
    roles = ("user", "assistant")
    said = [message(roles[at % 2], text) for at, text in enumerate(texts)]
    return Prompt((message("system", "own"), *said), expected, line=line)


def sent(arm: Arm, prompt: Prompt) -> list[str]:
    return [f"{m.role[0]}:{m.content}" for m in arm.messages(prompt)]


def test_a_plain_arm_sends_the_prompt_as_it_is() -> None:
    prompt = asks("a", "b", "c")
    arm = Arm("base", "m")
    assert arm.messages(prompt) == prompt.messages
    assert (arm.sampling, arm.traits(), arm.stored_answer(prompt)) == (GREEDY, (), None)


def test_a_system_message_takes_the_place_of_all_others() -> None:
    prompt = Prompt((message("system", "one"), message("developer", "two"), message("user", "q")))
    assert sent(Arm("a", "m", system="new"), prompt) == ["s:new", "u:q"]
    assert sent(Arm("a", "m", system="new"), Prompt((message("user", "q"),))) == ["s:new", "u:q"]


def test_examples_go_between_the_system_message_and_the_question() -> None:
    shown = (asks("1", expected="2"), asks("3", "4", "5", expected="6"))
    arm = Arm("few", "m", examples=shown)
    assert sent(arm, asks("q")) == [
        *("s:own", "u:1", "a:2"),
        *("u:3", "a:4", "u:5", "a:6"),
        "u:q",
    ]
    assert arm.traits() == ("2 examples",)


def test_an_example_is_not_shown_with_the_question_that_it_answers() -> None:
    arm = Arm("few", "m", examples=(asks("q", expected="secret"), asks("1", expected="2")))
    assert sent(arm, asks("q")) == ["s:own", "u:1", "a:2", "u:q"]
    assert sent(arm, Prompt((message("user", "q"),))) == ["u:1", "a:2", "u:q"]


def test_the_calls_inside_an_example_stay() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    steps = (
        message("user", "1"),
        message("assistant", tool_calls=(call,)),
        message("tool", "2", tool_call_id="1"),
    )
    arm = Arm("few", "m", examples=(Prompt(steps, "3"),))
    assert arm.messages(asks("q"))[1:4] == steps


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (asks("q", line=4), "in line 4 has no expected answer"),
        (asks("q"), "the example has no expected answer"),
        (Prompt((message("user", "q"),), "a", calls=({"type": "function"},)), "calls functions"),
    ],
)
def test_examples_that_cannot_be_shown(example: Prompt, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Arm("few", "m", examples=(example,))


def test_an_example_that_must_call_nothing_can_be_shown() -> None:
    arm = Arm("few", "m", examples=(Prompt((message("user", "1"),), "2", calls=()),))
    assert sent(arm, asks("q")) == ["s:own", "u:1", "a:2", "u:q"]


def test_traits_say_all_that_sets_an_arm_apart(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Shops open at nine.", "utf-8")
    (tmp_path / "answers.jsonl").write_text('{"prompt": "q", "answer": "a"}\n', "utf-8")
    arm = Arm(
        "all",
        "m",
        system="x" * 1200,
        examples=(asks("1", expected="2"),),
        documents=Documents.read(tmp_path / "a.md"),
        stored=Stored.read(tmp_path / "answers.jsonl"),
    )
    assert arm.traits() == (
        "system prompt (1,200 characters)",
        "1 example",
        "BM25 over 1 document, 4 passages",
        "stored answers (answers.jsonl)",
    )


def test_passages_stand_before_the_question_and_not_in_examples(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("Shops open at nine.", "utf-8")
    documents = Documents.read(tmp_path)
    arm = Arm("rag", "m", examples=(asks("shops?", expected="2"),), documents=documents)
    assert sent(arm, asks("When do shops open?")) == [
        *("s:own", "u:shops?", "a:2"),
        "u:Passages that may help to answer:\n\n[1] a.md\nShops open at nine.\n\n---\n\n"
        "When do shops open?",
    ]
    assert sent(arm, asks("zzz"))[-1] == "u:zzz"
