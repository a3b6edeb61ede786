"""Chat templates in Go: equal to Jinja's prompt for prompt, or refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local.export.gotemplate import Pieces, pieces_of
from ftjobs.backends.local.templates import render_text

Message = Mapping[str, str]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    "chatml with a default": (
        "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}"
        "{% endif %}" + CHATML
    ),
    "instructions in brackets": (
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
        "{% set said = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
        "{% set messages = messages[1:] %}{% else %}{% set said = '' %}{% endif %}"
        "{% for m in messages %}{% if m['role'] == 'user' %}"
        "{{ '[INST] ' + (said if loop.first else '') + m['content'] + ' [/INST]' }}"
        "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
    ),
    "headers": (
        "{{ bos_token }}{% for m in messages %}{{ '<|head|>' + m['role'] + '<|/head|>\n\n' "
        "+ m['content'] | trim + '<|eot|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|head|>assistant<|/head|>\n\n' }}{% endif %}"
    ),
    "turns without a system": (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "{% for m in messages %}{{ '<turn>' + ('model' if m['role'] == 'assistant' else 'user') "
        "+ '\n' + m['content'] | trim + '</turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
    ),
    "turns with the system in the first": (
        "{{ bos_token }}{% set first = '' %}{% if messages[0]['role'] == 'system' %}"
        "{% set first = messages[0]['content'] + '\n\n' %}{% set messages = messages[1:] %}"
        "{% endif %}{% for m in messages %}{{ '<turn>' + ('model' if m['role'] == 'assistant' "
        "else 'user') + '\n' + (first if loop.first else '') + m['content'] + '</turn>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<turn>model\n' }}{% endif %}"
    ),
    "words and colons": (
        "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
        "{% set messages = messages[1:] %}{% else %}{{ 'A chat.' }}{% endif %}"
        "{% for m in messages %}{{ (' USER: ' if m['role'] == 'user' else ' ASSISTANT: ') "
        "+ m['content'] + ('</s>' if m['role'] == 'assistant' else '') }}{% endfor %}"
        "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}"
    ),
    "Japanese": (
        "{% for m in messages %}{{ ('ユーザー: ' if m['role'] == 'user' else 'システム: ') "
        "+ m['content'] + '\n' }}{% endfor %}{{ 'システム: ' }}"
    ),
}


class Tokenizer:
    """As much of a tokenizer as a template needs, over transformers' own renderer of Jinja."""

    bos_token, eos_token = "<s>", "</s>"

    def __init__(self, chat_template: str) -> None:
        self.chat_template = chat_template

    def apply_chat_template(
        self, messages: Sequence[Message], *, add_generation_prompt: bool, **_: object
    ) -> str:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, _marks = render_jinja_template(
            conversations=[list(messages)],
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
        )
        return str(texts[0])


def go(text: str, messages: Sequence[Message]) -> str:
    """What Go makes of the one shape of template that we write, read by another program than it."""
    whole = re.fullmatch(r"(.*?){{ range \.Messages }}(.*){{ end }}(.*?)", text, re.DOTALL)
    assert whole, text
    start, body, end = whole.groups()
    branches = re.findall(
        r'{{ if eq \.Role "(\w+)" }}(.*?){{ \.Content }}(.*?)(?={{ else }}|{{ end }})',
        body,
        re.DOTALL,
    )
    assert body.count("{{ end }}") == len(branches)
    said = {role: before + "\0" + after for role, before, after in branches}
    shown = (said[message["role"]].replace("\0", message["content"]) for message in messages)
    return str(start + "".join(shown) + end)


def conversation(texts: Sequence[str], system: str | None) -> list[Message]:
    roles = itertools.cycle(("user", "assistant"))
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return [*([] if system is None else [{"role": "system", "content": system}]), *turns]


said = st.text(min_size=1, max_size=20).filter(lambda text: text == text.strip() and text)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=15)
@given(data=st.data())
def test_go_makes_the_prompt_that_jinja_makes(name: str, data: st.DataObject) -> None:
    tokenizer = Tokenizer(TEMPLATES[name])
    pieces = pieces_of(tokenizer)
    turns = data.draw(st.sampled_from([1, 3, 5]))
    texts = data.draw(st.lists(said, min_size=turns, max_size=turns))
    system = data.draw(st.none() | said) if "system" in pieces.around else None
    messages = conversation(texts, system)
    expected = render_text(tokenizer, [dict(m) for m in messages], prompt=True)
    assert pieces.render(messages) == expected
    if system is None and pieces.system:  # as the Modelfile's SYSTEM makes Ollama send it
        messages = conversation(texts, pieces.system)
    assert go(pieces.to_go(), messages) == expected


def test_pieces_are_what_a_person_would_write() -> None:
    pieces = pieces_of(Tokenizer(TEMPLATES["chatml with a default"]))
    assert pieces == Pieces(
        "",
        {
            "system": ("<|im_start|>system\n", "<|im_end|>\n"),
            "user": ("<|im_start|>user\n", "<|im_end|>\n"),
            "assistant": ("<|im_start|>assistant\n", "<|im_end|>\n"),
        },
        "<|im_start|>assistant\n",
        "Be kind.",
    )


def test_a_start_token_that_ollama_adds_is_left_out() -> None:
    tokenizer = Tokenizer(TEMPLATES["headers"])
    assert pieces_of(tokenizer).start == "<s>"
    assert pieces_of(tokenizer, bos="<s>").start == ""
    assert pieces_of(tokenizer, bos="<s>").to_go().startswith("{{ range")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ strftime_now('%Y') }}" + CHATML, "date"),
        (CHATML.replace("m['content']", "m['content'] | upper"), "one message after another"),
        ("{{ messages | length }}" + CHATML, "begins otherwise"),
        ("{% for m in messages[-1:] %}{{ m['content'] }}{% endfor %}", "every message once"),
        ("{{ broken", "refuses"),
    ],
)
def test_what_cannot_be_translated_is_refused(template: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pieces_of(Tokenizer(template)).to_go()


@pytest.mark.parametrize("text", ["{{ x", "a }}", 'b """ c', "{"])
def test_texts_that_are_syntax_of_go_are_refused(text: str) -> None:
    pieces = Pieces(text, {"user": ("", "")}, "")
    with pytest.raises(ValueError, match="syntax"):
        pieces.to_go()
    with pytest.raises(ValueError, match="quotation"):
        Pieces("", {"user": ("", "")}, 'say "').to_go()


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="tool"):
        Pieces("", {"user": ("", "")}, "").render([{"role": "tool", "content": "1"}])
