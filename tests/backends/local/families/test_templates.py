"""Masks under templates in the style of real families: the answer and one stop token, or a refusal.

The templates are written here, in the shape of those that the families are known for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ftjobs.backends.local import models
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.errors import TrainingError
from ftjobs.schema import Example

Turns = tuple[tuple[str, str] | tuple[str, str, int], ...]
ONE: Turns = (("system", "Be brief."), ("user", "答えは？"), ("assistant", "42です 🙂"))
MANY: Turns = (
    ("user", "a"), ("assistant", "one"),
    ("user", "b"), ("assistant", "two", 0),
    ("user", "c"), ("assistant", "three\nlines"),
)  # fmt: skip


@dataclass(frozen=True)
class Style:
    """A template, its special tokens, those that end an answer, and what is between them."""

    template: str
    specials: tuple[str, ...]
    stop: str
    others: tuple[str, ...] = ()
    before: str = ""
    after: str = ""
    thinks: str = ""
    system: bool = True


def role_loop(body: str, prompt: str, start: str = "") -> str:
    """A template that writes every message the same way."""
    return (
        f"{start}{{% for m in messages %}}{body}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{prompt}{{% endif %}}"
    )


CHATML = Style(
    role_loop(
        "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}",
        "{{ '<|im_start|>assistant\\n' }}",
    ),
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
)
LLAMA2 = Style(
    "{% set system = '' %}{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<s>[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' </s>' }}{% endif %}{% endfor %}",
    ("<s>", "</s>"),
    "</s>",
    before=" ",
    after=" ",
)
LLAMA3 = Style(
    role_loop(
        "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' "
        "+ m['content'] | trim + '<|eot_id|>' }}",
        "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}",
        start="{{ '<|begin_of_text|>' }}",
    ),
    ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "<|eot_id|>",
    others=("<|end_of_text|>",),
)
GEMMA = Style(
    "{{ '<bos>' }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}"
    + role_loop(
        "{% set role = 'model' if m['role'] == 'assistant' else m['role'] %}"
        "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}",
        "{{ '<start_of_turn>model\\n' }}",
    ),
    ("<bos>", "<start_of_turn>", "<end_of_turn>"),
    "<end_of_turn>",
    others=("<eos>",),
    system=False,
)
MISTRAL = Style(
    "{{ '<s>' }}{% set found = namespace(system='') %}"
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{% set found.system = m['content'] + '\\n\\n' %}"
    "{% elif m['role'] == 'user' %}"
    "{{ '[INST] ' + found.system + m['content'] + '[/INST]' }}{% set found.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + '</s>' }}{% endif %}{% endfor %}",
    ("<s>", "</s>", "[INST]", "[/INST]"),
    "</s>",
    before=" ",
)
PHI3 = Style(
    "{% for m in messages %}"
    "{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}"
    "{% else %}{{ '<|endoftext|>' }}{% endif %}",
    ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"),
    "<|end|>",
    others=("<|endoftext|>",),
)
# Thoughts belong to the last answer alone; earlier ones are shown without.
QWEN3 = Style(
    "{% set last = namespace(user=0) %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% set text = m['content'].split('</think>')[-1].lstrip('\\n') %}"
    "{% if loop.index0 > last.user %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ text }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    ("<|im_start|>", "<|im_end|>"),
    "<|im_end|>",
    thinks="<think>\n\n</think>\n\n",
)
DEEPSEEK = Style(
    "{{ '<｜begin▁of▁sentence｜>' }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] + '\\n\\n' }}"
    "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + m['content'] + '<｜end▁of▁sentence｜>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
    ("<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    "<｜end▁of▁sentence｜>",
)
COMMAND_R = Style(
    role_loop(
        "{% set role = {'system': 'SYSTEM', 'user': 'USER', 'assistant': 'CHATBOT'}[m['role']] %}"
        "{{ '<|START_OF_TURN_TOKEN|><|' + role + '_TOKEN|>' + m['content'] "
        "+ '<|END_OF_TURN_TOKEN|>' }}",
        "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}",
        start="{{ '<BOS_TOKEN>' }}",
    ),
    (
        "<BOS_TOKEN>",
        "<|START_OF_TURN_TOKEN|>",
        "<|SYSTEM_TOKEN|>",
        "<|USER_TOKEN|>",
        "<|CHATBOT_TOKEN|>",
        "<|END_OF_TURN_TOKEN|>",
    ),
    "<|END_OF_TURN_TOKEN|>",
)
ZEPHYR = Style(
    role_loop(
        "{{ '<|' + m['role'] + '|>\\n' + m['content'] + '</s>' + '\\n' }}",
        "{{ '<|assistant|>\\n' }}",
    ),
    ("</s>",),
    "</s>",
)
VICUNA = Style(
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] + ' ' }}"
    "{% elif m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    ("</s>",),
    "</s>",
    before=" ",
)
HARMONY = Style(
    role_loop(
        "{% if m['role'] == 'assistant' %}"
        "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] }}"
        "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}"
        "{% else %}{{ '<|start|>' + m['role'] + '<|message|>' + m['content'] + '<|end|>' }}"
        "{% endif %}",
        "{{ '<|start|>assistant' }}",
    ),
    ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"),
    "<|return|>",
    others=("<|end|>",),
    before="<|channel|>final<|message|>",
)
STYLES = {
    "ChatML": CHATML,
    "Llama 2": LLAMA2,
    "Llama 3": LLAMA3,
    "Gemma": GEMMA,
    "Mistral": MISTRAL,
    "Phi 3": PHI3,
    "Qwen 3": QWEN3,
    "DeepSeek": DEEPSEEK,
    "Command R": COMMAND_R,
    "Zephyr": ZEPHYR,
    "Vicuna": VICUNA,
    "Harmony": HARMONY,
}
# Its prompt begins the thoughts, which a conversation without them does not have.
R1 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}"
    "{% else %}{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] "
    "+ '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
)


def make(folder: Path, style: Style) -> Renderer:
    """A byte-level tokenizer with the style's tokens; the first of `others` ends it, if any."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds
    from transformers import PreTrainedTokenizerFast

    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(kinds.BPE(alphabet, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = style.others[0] if style.others else style.stop
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)
    specials = list(dict.fromkeys([*style.specials, style.stop, *style.others]))
    fast.add_special_tokens({"additional_special_tokens": specials})
    fast.chat_template = style.template
    fast.save_pretrained(folder)
    ends = fast.convert_tokens_to_ids([style.stop, end])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}), "utf-8")
    loaded = models.load_tokenizer(folder)
    return Renderer(loaded, models.stop_ids(loaded, folder), 4096)


def example(turns: Turns) -> Example:
    messages = [
        {"role": role, "content": content, "weight": weight[0] if weight else None}
        for role, content, *weight in turns
    ]
    return Example.model_validate({"messages": messages, "line": 1})


def supervised(renderer: Renderer, tokens: Tokens) -> list[str]:
    """The supervised stretches as text."""
    stretches: list[list[int]] = []
    inside = False
    for token, counts in zip(tokens.ids, tokens.supervised, strict=True):
        if counts and not inside:
            stretches.append([])
        if counts:
            stretches[-1].append(token)
        inside = counts
    return [str(renderer.tokenizer.decode(stretch)) for stretch in stretches]


@pytest.mark.parametrize("name", STYLES)
def test_the_answer_and_one_stop_token_are_supervised(name: str, tmp_path: Path) -> None:
    style = STYLES[name]
    renderer = make(tmp_path, style)
    turns = ONE if style.system else ONE[1:]
    tokens = renderer.example(example(turns))
    answer = style.before + style.thinks + "42です 🙂" + style.after + style.stop
    assert supervised(renderer, tokens) == [answer]
    asked = [dict(zip(("role", "content"), turn, strict=False)) for turn in turns[:-1]]
    assert list(tokens.ids[: tokens.supervised.index(True)]) == renderer.prompt(asked)


@pytest.mark.parametrize("name", sorted(STYLES.keys() - {"Harmony"}))
def test_every_trained_turn_is_supervised_and_no_other(name: str, tmp_path: Path) -> None:
    style = STYLES[name]
    renderer = make(tmp_path, style)
    found = supervised(renderer, renderer.example(example(MANY)))
    assert found == [
        style.before + "one" + style.after + style.stop,
        style.before + style.thinks + "three\nlines" + style.after + style.stop,
    ]


def test_an_earlier_turn_may_end_with_another_stop_token(tmp_path: Path) -> None:
    renderer = make(tmp_path, HARMONY)
    found = supervised(renderer, renderer.example(example(MANY)))
    assert found == [
        HARMONY.before + "one" + "<|end|>",
        HARMONY.before + "three\nlines" + "<|return|>",
    ]


def test_a_role_that_a_template_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"line 1 .* no system role"):
        make(tmp_path, GEMMA).example(example(ONE))


def test_a_prompt_that_begins_thoughts_which_are_not_there_is_refused(tmp_path: Path) -> None:
    specials = ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")
    renderer = make(tmp_path, Style(R1, specials, specials[-1]))
    with pytest.raises(TrainingError, match="renders the conversation up to an assistant turn"):
        renderer.example(example(ONE[1:]))


def test_a_tool_that_no_template_shows_is_refused(tmp_path: Path) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {}}}
    shown = example(ONE).model_copy(update={"tools": (tool,)})
    with pytest.raises(TrainingError, match="does not show the model its tools"):
        make(tmp_path, CHATML).example(shown)
