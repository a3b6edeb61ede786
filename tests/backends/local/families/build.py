"""Tiny random models of each family, real in every respect but what they know."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tests import tiny

_TEXT = """
今日は いい 天気 です ね 。 明日 も 晴れ る でしょう か ？ 質問 に 答え て ください
ユーザー : システム 日本語
the cat sat on a mat and asked which colour is sky grass snow blue green white question
abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ answer number 0 1 2 3 4 5 6 7 8 9
What is your name ? My is good bad positive negative .
"""
WORDS = _TEXT.split()
"""What the trained tokenizers know."""
SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
TOKENS = {"vocab_size": 264, "bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 257}


def save_decoder(folder: Path, kind: str, template: str | None = tiny.CHATML) -> Path:
    """A decoder of a family by the name of its class: Llama, Qwen2, Qwen3, Gemma2, Gemma3, GPT2."""
    import torch
    import transformers

    torch.manual_seed(0)
    options: dict[str, Any] = {**SHAPE, **HEADS, **TOKENS, "max_position_embeddings": 256}
    if kind == "GPT2":
        options = {**TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
    elif kind.startswith("Gemma"):
        options |= {"sliding_window": 64, "query_pre_attn_scalar": 8}
    names = {
        "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
        "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    }
    config, model = names.get(kind, (f"{kind}Config", f"{kind}ForCausalLM"))
    getattr(transformers, model)(getattr(transformers, config)(**options)).save_pretrained(folder)
    tiny.save_tokenizer(folder, template)
    return folder


def sentencepiece(folder: Path, **options: Any) -> Path:
    """A sentencepiece model of `WORDS`, trained here; it knows single characters and bytes."""
    import sentencepiece as spm

    lines = [" ".join(WORDS[start:] + WORDS[:start]) for start in range(0, len(WORDS), 3)]
    settings: dict[str, Any] = {
        "vocab_size": 420,
        "model_type": "unigram",
        "character_coverage": 1.0,
        "byte_fallback": True,
        "pad_id": 0,
        "eos_id": 1,
        "unk_id": 2,
        "bos_id": -1,
        "minloglevel": 2,
        "hard_vocab_limit": False,
        "num_threads": 1,
    }
    written = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, **(settings | options)
    )
    path = folder / "spiece.model"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written.getvalue())
    return path


def save_japanese(folder: Path) -> Path:
    """A Llama of 32 hidden units whose tokenizer is sentencepiece's, without a chat template."""
    import torch
    import transformers

    path = sentencepiece(
        folder, model_type="bpe", vocab_size=520, pad_id=-1, unk_id=0, bos_id=1, eos_id=2
    )
    path = path.rename(folder / "tokenizer.model")
    tokenizer = transformers.LlamaTokenizer.from_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    path.unlink()
    torch.manual_seed(0)
    sizes = {**SHAPE, **HEADS, "max_position_embeddings": 256, "vocab_size": len(tokenizer)}
    config = transformers.LlamaConfig(**sizes, bos_token_id=1, eos_token_id=2)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def save_t5(folder: Path) -> Path:
    """A T5 of 32 hidden units with a tokenizer of its own."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    path = sentencepiece(folder)
    tokenizer = T5Tokenizer.from_pretrained(str(folder), extra_ids=0)
    tokenizer.save_pretrained(folder)
    path.unlink()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def save_bert(folder: Path, *, head: str = "BertForMaskedLM") -> Path:
    """A BERT of 32 hidden units; as a masked language model it lacks even a pooler."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    characters = sorted({c.lower() for word in WORDS for c in word})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters]
    words += [f"##{c}" for c in characters] + sorted({w.lower() for w in WORDS if len(w) > 1})
    (folder / "vocab.txt").write_text("\n".join(words), "utf-8")
    transformers.BertTokenizer.from_pretrained(str(folder)).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    getattr(transformers, head)(config).save_pretrained(folder)
    return folder
