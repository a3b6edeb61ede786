"""The sizes of a model, read without its weights, are those of the model that is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.fit.shape import read_shape
from ftjobs.backends.local.training.adapter import adapted_layers, parameters_per_rank
from ftjobs.errors import ModelError

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": (
        "LlamaForCausalLM",
        {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
         "num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 99,
         "tie_word_embeddings": True},
    ),
    "qwen3": (
        "Qwen3ForCausalLM",
        {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
         "num_hidden_layers": 2, "intermediate_size": 48, "vocab_size": 99,
         "tie_word_embeddings": False},
    ),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 32, "n_head": 4, "n_layer": 2, "vocab_size": 99,
                                 "n_positions": 64}),
    "t5": ("T5ForConditionalGeneration", {"d_model": 32, "num_heads": 4, "d_kv": 8, "d_ff": 48,
                                          "num_layers": 2, "vocab_size": 99,
                                          "decoder_start_token_id": 0}),
}  # fmt: skip


def small(kind: str, folder: Path) -> Any:
    """A random model of a family, saved in `folder`."""
    name, sizes = SMALL[kind]
    model_class = getattr(transformers, name)
    model = model_class(model_class.config_class(**sizes))
    with models.quietly():
        model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("kind", SMALL)
def test_sizes_are_those_of_the_loaded_model(kind: str, tmp_path: Path) -> None:
    model = small(kind, tmp_path)
    shape = read_shape(tmp_path)
    assert shape.kind == kind
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert {layer.name for layer in shape.linear} == set(adapted_layers(model))
    per_rank = sum(layer.inputs + layer.outputs for layer in shape.linear)
    assert per_rank == parameters_per_rank(adapted_layers(model).values())
    sizes = (shape.hidden, shape.heads, shape.vocabulary, shape.layers)
    assert sizes == (32, 4, 99, 4 if kind == "t5" else 2)


@pytest.mark.parametrize("targets", [["q_proj"], ["layers.1.mlp.up_proj", "k_proj"]])
def test_targets_name_layers_as_they_do_in_training(targets: list[str], tmp_path: Path) -> None:
    model = small("llama", tmp_path)
    named = {layer.name for layer in read_shape(tmp_path).adapted(targets)}
    assert named == set(adapted_layers(model, targets))


def test_a_second_copy_of_the_weights_is_not_counted(tmp_path: Path) -> None:
    small("llama", tmp_path)
    once = read_shape(tmp_path).parameters
    shutil.copy(tmp_path / "model.safetensors", tmp_path / "consolidated.safetensors")
    assert read_shape(tmp_path).parameters == once
    (tmp_path / "model.safetensors").rename(tmp_path / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_shape(tmp_path).parameters == once


@given(st.binary(max_size=40))
def test_a_broken_file_is_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("broken")
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **sizes}))
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="safetensors"):
        read_shape(folder)


@pytest.mark.parametrize("header", ["[]", '{"a": 3}', '{"a": {"shape": [-1]}}', "{"])
def test_a_header_that_is_none_is_refused(tmp_path: Path, header: str) -> None:
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 9}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **sizes}))
    data = len(header).to_bytes(8, "little") + header.encode()
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="safetensors"):
        read_shape(tmp_path)


def test_a_configuration_without_a_size_is_refused(tmp_path: Path) -> None:
    small("llama", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for value in (None, 0, "many"):
        (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": value}))
        with pytest.raises(ModelError, match="hidden_size"):
            read_shape(tmp_path)


def test_a_forecast_needs_no_torch() -> None:
    code = (
        "import sys; import ftjobs.backends.local.fit.forecast, ftjobs.backends.local.fit.size;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'peft')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
