"""The families of models, told from a folder's config.json: none is loaded to know it.

A decoder (Llama, Qwen, Gemma, GPT-2) continues a conversation.  An encoder-decoder (T5, BART)
turns one text into another.  An encoder (BERT, RoBERTa) becomes a classifier: its answer is one of
those that the training file holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ftjobs.errors import ModelError

Family = Literal["decoder", "encoder-decoder", "classifier"]

PROMPT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ raise_exception('it reads one prompt, not a conversation: set chat_template to show it "
    "earlier answers') }}"
    "{% endif %}"
    "{{ message['content'] }}{% if not loop.last %}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
)
"""The prompt of T5 and BERT unless another is given: instructions and question, a line each."""

UNBOUNDED = 1 << 20
"""Tokens that a model takes whose configuration names no limit."""


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENCODER_DECODERS = _set_of(
    "t5 mt5 umt5 longt5 t5gemma bart mbart pegasus pegasus_x marian m2m_100 led bigbird_pegasus "
    "blenderbot blenderbot-small prophetnet switch_transformers encoder-decoder"
)
_ENCODERS = _set_of(
    "albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra "
    "ernie eurobert flaubert funnel ibert layoutlm longformer luke megatron-bert mobilebert "
    "modernbert mpnet mra nezha nystromformer rembert roberta roberta-prelayernorm roc_bert "
    "roformer squeezebert xlm xlm-roberta xlm-roberta-xl xmod yoso"
)
# Their positions are counted from the padding token's id on: RoBERTa of 514 takes 512 tokens.
_OFFSET = _set_of(
    "camembert data2vec-text ibert longformer luke mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod"
)
_RELATIVE = _set_of("t5 mt5 umt5 longt5 switch_transformers")


def family(folder: Path) -> Family:
    """The family of the model in `folder`.

    Raises:
        ModelError: config.json cannot be read.
    """
    config = configuration(folder)
    kind = str(config.get("model_type"))
    if config.get("is_encoder_decoder") or kind in _ENCODER_DECODERS:
        return "encoder-decoder"
    if config.get("is_decoder"):  # a BERT that was made to write
        return "decoder"
    masked = "ForMaskedLM" in str(config.get("architectures"))
    return "classifier" if masked or kind in _ENCODERS else "decoder"


def configuration(folder: Path) -> dict[str, Any]:
    """What config.json says.  ModelError if it cannot be read."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} is not a model's configuration")
    return config


def context_length(folder: Path) -> int:
    """How many tokens the model takes: of prompt and answer together, or of each of them for an
    encoder-decoder; `UNBOUNDED` where positions are relative or nothing is said.

    Imports transformers, which knows what a configuration leaves out.

    Raises:
        ModelError: config.json cannot be read.
    """
    from transformers import AutoConfig

    config = configuration(folder)
    kind = str(config.get("model_type"))
    if kind in _RELATIVE:  # n_positions is what T5 was trained with, not what it takes
        return UNBOUNDED
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False).to_dict()
    except Exception as error:  # noqa: BLE001 — broken files raise anything at all
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(f"{folder / 'config.json'} cannot be used: {reason}") from None
    text = _of_text(config)
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")
    found = next((text[name] for name in names if _is_length(text, name)), UNBOUNDED)
    padding = text.get("pad_token_id")
    offset = (1 if padding is None else int(padding)) + 1 if kind in _OFFSET else 0
    return int(found) - offset


def vocabulary(folder: Path) -> int:
    """How many tokens the model knows; `UNBOUNDED` where its configuration does not say.

    Raises:
        ModelError: config.json cannot be read.
    """
    text = _of_text(configuration(folder))
    return int(text["vocab_size"]) if _is_length(text, "vocab_size") else UNBOUNDED


def _of_text(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with what it says of the part that reads text, where others see or hear."""
    inner = config.get("text_config")
    return config | (inner if isinstance(inner, dict) else {})


def _is_length(config: Mapping[str, Any], name: str) -> bool:
    value = config.get(name)
    return isinstance(value, int) and value > 0


def refusal(kind: Family, method: str, name: str) -> str:
    """Why a family cannot learn by a method; "" if it can."""
    if kind == "decoder" or method == "supervised":
        return ""
    return f"{name} is {ARTICLES[kind]}, which can be trained supervised only, not by {method}"


ARTICLES: Mapping[Family, str] = {
    "decoder": "a decoder",
    "encoder-decoder": "an encoder-decoder",
    "classifier": "an encoder (a classifier)",
}
"""How messages call a model of a family."""
