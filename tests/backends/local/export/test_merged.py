"""Merged models: what was trained, in one piece, for transformers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ftjobs.backends.local import models
from ftjobs.backends.local.export import merged
from ftjobs.backends.local.export.about import Found
from ftjobs.backends.local.export.check import Difference, compare, logits
from ftjobs.backends.local.export.source import Source, load_base, with_adapter
from ftjobs.errors import ModelError, UnsupportedError
from tests.backends.local.export.conftest import Build, quiet, said

CLASSES = {
    "T5": "AutoModelForSeq2SeqLM",
    "BERT": "AutoModelForSequenceClassification",
}


def written(source: Source, target: Path, **how: Any) -> Found:
    target.mkdir()
    return merged.write(source, target, quiet, **how)


def expected(source: Source) -> list[torch.Tensor]:
    assert source.adapter is not None
    return logits(
        with_adapter(load_base(source, quiet), source.adapter),
        models.load_tokenizer(source.adapter),
    )


@pytest.mark.parametrize("kind", ["tiny", "GPT2", "Qwen3", "Gemma3", "T5", "BERT"])
def test_transformers_alone_loads_what_was_trained(
    kind: str, source: Build, tmp_path: Path
) -> None:
    import transformers

    trained = source(kind)
    written(trained, tmp_path / "out")
    auto = getattr(transformers, CLASSES.get(kind, "AutoModelForCausalLM"))
    model, found = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    difference = compare(expected(trained), logits(model, tokenizer))
    assert difference.relative < 1e-4
    assert difference.changed == 0
    plain = logits(load_base(trained, quiet), tokenizer)
    assert compare(plain, logits(model, tokenizer)).relative > 0.01  # the adapter is in it


@pytest.mark.parametrize("lora", [{"use_dora": True}, {"use_rslora": True}, {"r": 3}])
def test_every_kind_of_lora_can_be_merged(
    source: Build, tmp_path: Path, lora: dict[str, Any]
) -> None:
    trained = source(**lora)
    found = written(trained, tmp_path / "out")
    assert "difference by merging" in found.notes
    model = models.load_model(tmp_path / "out", dtype="float32", device="cpu")
    tokenizer = models.load_tokenizer(tmp_path / "out")
    assert compare(expected(trained), logits(model, tokenizer)).relative < 1e-4


def test_what_transformers_and_vllm_read_besides(source: Build, tmp_path: Path) -> None:
    trained = source()
    written(trained, tmp_path / "out")
    known = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert known["eos_token_id"] == 257
    assert known["pad_token_id"] == 257
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert trained.adapter is not None
    template = (trained.adapter / "chat_template.jinja").read_text()
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == template


def test_every_stop_token_of_the_base_stays_one(bases: Any, source: Build, tmp_path: Path) -> None:
    trained = source()
    path = trained.base.folder / "generation_config.json"
    before = path.read_text()
    # temperature without do_sample: transformers itself refuses to save such settings
    path.write_text(
        json.dumps({"eos_token_id": [256, 257], "temperature": 0.6, "do_sample": False})
    )
    try:
        written(trained, tmp_path / "out")
    finally:
        path.write_text(before)
    known = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert known["eos_token_id"] == [256, 257]
    assert known["temperature"] == 0.6


def test_tied_heads_stay_tied(bases: Any, source: Build, tmp_path: Path) -> None:
    trained = source("Gemma3")
    written(trained, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"]
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert not any("lm_head" in name for name in names)
    model = models.load_model(tmp_path / "out", dtype="float32", device="cpu")
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_dropout_of_the_base_comes_back(source: Build, tmp_path: Path) -> None:
    written(source("BERT"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["hidden_dropout_prob"] == 0.1
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["architectures"] == ["BertForSequenceClassification"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_rounding_is_done_once_and_told(source: Build, tmp_path: Path, dtype: str) -> None:
    found = written(source(), tmp_path / "out", dtype=dtype)
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    assert merged.base_dtype(tmp_path / "out") == dtype
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == dtype
    assert " of the largest logit" in found.notes[f"difference by rounding to {dtype}"]


def test_weights_that_float16_cannot_hold_are_refused(source: Build, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="too large for float16"):
        written(source(lora_alpha=10_000_000), tmp_path / "out", dtype="float16")


def test_a_base_model_is_written_as_it_is(source: Build, tmp_path: Path) -> None:
    trained = source()
    base = Source(trained.base, None, trained.about)
    lines: list[str] = []
    (tmp_path / "out").mkdir()
    merged.write(base, tmp_path / "out", said(lines))
    ours = load_file(tmp_path / "out" / "model.safetensors")
    theirs = load_file(trained.base.folder / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "Merging the adapter" not in lines


def test_a_merge_that_is_off_is_refused(
    source: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an adapter changes the head that a model shares with its embeddings."""
    trained = source("Gemma3", target_modules=["lm_head", "q_proj"])
    with pytest.raises(ModelError, match="the merged model: its logits are off"):
        written(trained, tmp_path / "out")


def test_a_written_model_that_reads_back_otherwise_is_refused(
    source: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = merged._save

    def spoil(model: Any, *rest: Any) -> None:
        with torch.no_grad():
            model.get_input_embeddings().weight[65] += 0.5
        save(model, *rest)

    monkeypatch.setattr(merged, "_save", spoil)
    with pytest.raises(ModelError, match="the written model: its logits are off"):
        written(source(), tmp_path / "out")


def test_quantised_weights_are_no_base_for_a_merge(source: Build, tmp_path: Path) -> None:
    trained = source()
    path = trained.base.folder / "config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"quantization_config": {"bits": 4}}))
    try:
        with pytest.raises(UnsupportedError, match="stored quantised"):
            written(trained, tmp_path / "out")
    finally:
        path.write_text(before)


def test_a_broken_adapter_is_refused(source: Build, tmp_path: Path) -> None:
    trained = source(lora_alpha=float("nan"))
    with pytest.raises(ModelError, match="cannot be merged"):
        written(trained, tmp_path / "out")


def test_not_a_number_is_never_near_enough() -> None:
    first, second = [torch.ones(3, 5)], [torch.full((3, 5), torch.nan)]
    with pytest.raises(ModelError, match="off by nan"):
        compare(first, second).require(1e9, what="it")
    assert compare(first, first) == Difference(0.0, 0, 3)


def test_the_room_that_is_asked_for_is_the_room_that_is_needed(
    source: Build, tmp_path: Path
) -> None:
    trained = source()
    written(trained, tmp_path / "out", dtype="bfloat16")
    size = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert size <= merged.needed(trained, "bfloat16") <= size + (40 << 20)
    assert merged.needed(trained, None) > merged.needed(trained, "bfloat16")
