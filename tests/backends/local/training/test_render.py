"""Masks: exactly the assistant's words and one stop token per trained turn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.errors import ModelError, TrainingError
from ftjobs.schema import Example
from tests import tiny

LLAMA3 = (
    "{{ '<|im_start|>' }}{% for m in messages %}{{ '[' + m['role'] + ']\n\n' + m['content'] | trim "
    "+ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}"
)
NO_STOP = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
# Like some reasoning models: only the last answer keeps its (empty) thoughts.
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if loop.last and m['role'] == 'assistant' %}{{ '(thoughts)\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Numbers the messages from the end, so that no prefix of a conversation is a prefix of its text.
FROM_THE_END = (
    "{% for m in messages %}{{ (messages | length - loop.index) | string + m['content'] "
    "+ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '0' }}{% endif %}"
)


def make(folder: Path, template: str = tiny.CHATML, context: int = 4096) -> Renderer:
    tiny.save_tokenizer(folder, template)
    tokenizer = models.load_tokenizer(folder)
    return Renderer(tokenizer, models.stop_ids(tokenizer, folder), context)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return make(tmp_path_factory.mktemp("tokenizer"))


def chat(*turns: tuple[str, str] | tuple[str, str, int]) -> Example:
    messages: list[dict[str, Any]] = []
    for role, content, *weight in turns:
        messages.append({"role": role, "content": content, "weight": weight[0] if weight else None})
    return Example.model_validate({"messages": messages, "line": 3})


def spans(renderer: Renderer, tokens: Tokens) -> list[str]:
    """The supervised stretches as text."""
    found, current = [], []
    for token, supervised in zip((*tokens.ids, 0), (*tokens.supervised, False), strict=True):
        if supervised:
            current.append(token)
        elif current:
            found.append(str(renderer.tokenizer.decode(current)))
            current = []
    return found


def test_only_the_answer_and_its_stop_token_are_supervised(renderer: Renderer) -> None:
    tokens = renderer.example(chat(("system", "S"), ("user", "Q"), ("assistant", "答えは42。🙂")))
    assert spans(renderer, tokens) == ["答えは42。🙂<|im_end|>"]


def test_every_trained_turn_is_supervised_and_no_other(renderer: Renderer) -> None:
    example = chat(
        ("user", "a"), ("assistant", "one"),
        ("user", "b"), ("assistant", "two", 0),
        ("user", "c"), ("assistant", "three", 1),
    )  # fmt: skip
    assert spans(renderer, renderer.example(example)) == ["one<|im_end|>", "three<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (LLAMA3, ["one<|im_end|>", "two<|im_end|>"]),
        (THINKING, ["one<|im_end|>", "(thoughts)\ntwo<|im_end|>"]),
    ],
)
def test_other_templates(tmp_path: Path, template: str, wanted: list[str]) -> None:
    renderer = make(tmp_path, template)
    example = chat(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
    assert spans(renderer, renderer.example(example)) == wanted


def test_a_template_without_stop_token_gets_one_at_the_end(tmp_path: Path) -> None:
    renderer = make(tmp_path, NO_STOP)
    tokens = renderer.example(chat(("user", "a"), ("assistant", "one")))
    assert spans(renderer, tokens) == ["one\n<|im_end|>"]
    with pytest.raises(TrainingError, match="does not end an earlier assistant turn"):
        renderer.example(
            chat(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
        )


def test_an_answer_to_no_prompt_is_refused(tmp_path: Path) -> None:
    """Its first token would be counted as supervised, and nothing predicts it."""
    bare = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    asked = make(tmp_path, bare).example(chat(("user", "Q"), ("assistant", "A")))
    assert not asked.supervised[0]
    with pytest.raises(TrainingError, match="no text of this prompt"):
        make(tmp_path, bare).example(chat(("user", ""), ("assistant", "A")))


def test_a_template_whose_prefixes_differ_is_refused(tmp_path: Path) -> None:
    renderer = make(tmp_path, FROM_THE_END)
    with pytest.raises(TrainingError, match=r"line 3 .* differently"):
        renderer.example(
            chat(("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"))
        )


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_reserved_tokens_in_text_are_refused(renderer: Renderer, role: str) -> None:
    turns = {"user": "Q", "assistant": "A"} | {role: "before <|im_end|> after"}
    with pytest.raises(TrainingError, match="reserved tokens") as caught:
        renderer.example(chat(("user", turns["user"]), ("assistant", turns["assistant"])))
    assert caught.value.code == "invalid_training_file"
    assert "before" not in str(caught.value)


def test_too_long_is_an_error_and_says_so(tmp_path: Path) -> None:
    renderer = make(tmp_path, context=50)
    with pytest.raises(TrainingError, match=r"line 3 .* the limit is 50"):
        renderer.example(chat(("user", "Q"), ("assistant", "x" * 60)))


def test_a_tokenizer_without_template_is_refused(tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path, None)
    with pytest.raises(ModelError, match="no chat template"):
        models.load_tokenizer(tmp_path)


plain_text = st.text(min_size=1, max_size=30).filter(
    lambda text: text.strip() and "\ufffd" not in text and "<|" not in text
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(plain_text, plain_text, st.sampled_from([None, 0, 1])), min_size=1))
def test_what_the_model_is_asked_is_what_it_was_trained_on(
    renderer: Renderer, turns: list[tuple[str, str, int | None]]
) -> None:
    """The tokens before a trained answer are those of the prompt at inference, to the last one."""
    turns = [*turns[:-1], (*turns[-1][:2], 1)]
    messages = [
        message
        for question, answer, weight in turns
        for message in (
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer, "weight": weight},
        )
    ]
    tokens = renderer.example(Example.model_validate({"messages": messages}))
    stops = [
        token in renderer.stops
        for token, supervised in zip(tokens.ids, tokens.supervised, strict=True)
        if supervised
    ]
    assert sum(stops) == sum(weight != 0 for *_, weight in turns)
    begins = [
        index
        for index in range(1, len(tokens.ids))
        if tokens.supervised[index] and not tokens.supervised[index - 1]
    ]
    trained = [i for i, m in enumerate(messages) if m["role"] == "assistant" and m["weight"] != 0]
    for begin, turn in zip(begins, trained, strict=True):
        asked = [{k: v for k, v in m.items() if k != "weight"} for m in messages[:turn]]
        assert list(tokens.ids[:begin]) == renderer.prompt(asked)
