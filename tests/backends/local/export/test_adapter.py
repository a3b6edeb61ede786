"""Adapters for PEFT and vLLM: another rank, the same numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from ftjobs.backends.local import models
from ftjobs.backends.local.export import adapter
from ftjobs.backends.local.export.check import compare, logits
from ftjobs.backends.local.export.source import Source, load_base, with_adapter
from ftjobs.errors import ModelError, UnsupportedError
from tests.backends.local.export.conftest import Build, quiet


def exported(source: Source, target: Path) -> dict[str, Any]:
    target.mkdir()
    adapter.write(source, target, quiet)
    config: dict[str, Any] = json.loads((target / "adapter_config.json").read_text())
    return config


def logits_of(source: Source, folder: Path) -> list[torch.Tensor]:
    tokenizer = models.load_tokenizer(folder)
    return logits(with_adapter(load_base(source, quiet), folder), tokenizer)


@pytest.mark.parametrize(
    ("lora", "rank"),
    [({"r": 1}, 1), ({"r": 4}, 8), ({"r": 8}, 8), ({"r": 12, "lora_alpha": 5}, 16)],
)
def test_a_rank_of_vllm_and_the_same_logits(
    source: Build, tmp_path: Path, lora: dict[str, Any], rank: int
) -> None:
    trained = source(**lora)
    config = exported(trained, tmp_path / "out")
    assert config["r"] == rank
    assert config["r"] in adapter.RANKS
    assert config["lora_alpha"] / config["r"] == lora.get("lora_alpha", 12) / lora["r"]
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {t.shape[0] for name, t in tensors.items() if "lora_A" in name} == {rank}
    assert {t.shape[1] for name, t in tensors.items() if "lora_B" in name} == {rank}
    assert trained.adapter is not None
    difference = compare(logits_of(trained, trained.adapter), logits_of(trained, tmp_path / "out"))
    assert difference.relative < 1e-6
    assert difference.changed == 0


def test_the_adapter_matters_at_all(source: Build, tmp_path: Path) -> None:
    trained = source()
    exported(trained, tmp_path / "out")
    base = load_base(trained, quiet)
    plain = logits(base, models.load_tokenizer(tmp_path / "out"))
    assert compare(plain, logits_of(trained, tmp_path / "out")).relative > 0.01


def test_rslora_becomes_a_scaling_that_every_program_reads(source: Build, tmp_path: Path) -> None:
    trained = source(use_rslora=True, r=4)
    config = exported(trained, tmp_path / "out")
    assert config["use_rslora"] is False
    assert config["lora_alpha"] / config["r"] == 12 / math.sqrt(4)


def test_what_lies_beside_the_adapter_comes_along(source: Build, tmp_path: Path) -> None:
    exported(source(), tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"tokenizer.json", "chat_template.jinja"} <= names
    assert "manifest.json" not in names


@pytest.mark.parametrize(
    ("lora", "reason"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "replaces whole layers"),
        ({"bias": "lora_only"}, "bias"),
        ({"rank_pattern": {"q_proj": 2}}, "ranks that differ"),
        ({"alpha_pattern": {"q_proj": 2}}, "alphas that differ"),
        ({"r": 513}, "above 512"),
    ],
)
def test_what_vllm_does_not_load_is_refused(
    source: Build, lora: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnsupportedError, match=reason) as caught:
        adapter.require(source(**lora))
    assert "--merged" in caught.value.hint


def test_a_classifier_is_refused(source: Build) -> None:
    with pytest.raises(UnsupportedError, match="classifier"):
        adapter.require(source("BERT"))


def test_a_base_model_has_no_adapter(source: Build) -> None:
    trained = source()
    with pytest.raises(UnsupportedError, match="has no adapter"):
        adapter.needed(Source(trained.base, None, trained.about))


def test_an_adapter_that_computes_something_else_is_refused(
    source: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "scaling", lambda config: 3.001)  # trained: 12 / 4
    with pytest.raises(ModelError, match="logits are off"):
        exported(source(), tmp_path / "out")


def test_an_adapter_with_other_tensors_is_refused(source: Build, tmp_path: Path) -> None:
    trained = source()
    assert trained.adapter is not None
    path = trained.adapter / "adapter_model.safetensors"
    save_file({**load_file(path), "x.lora_embedding_A": torch.zeros(4, 4)}, path)
    with pytest.raises(UnsupportedError, match="lora_embedding_A"):
        exported(trained, tmp_path / "out")


@given(alpha=st.floats(0.01, 4096), rank=st.integers(1, 512), root=st.booleans())
def test_the_scaling_stays_to_the_last_bit_or_the_one_before(
    alpha: float, rank: int, root: bool
) -> None:
    scale = adapter.scaling({"lora_alpha": alpha, "r": rank, "use_rslora": root})
    grown = adapter.rank_of(rank)
    assert grown >= rank
    again = adapter.alpha_for(scale, grown) / grown
    assert abs(again - scale) <= math.ulp(scale)
    if math.log2(grown).is_integer():
        assert again == scale
