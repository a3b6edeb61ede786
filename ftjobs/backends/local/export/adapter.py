"""An adapter in the layout of PEFT that vLLM's rules accept.

vLLM (`vllm/lora/peft_helper.py`, `vllm/config/lora.py`) takes no DoRA, no `modules_to_save`, no
bias, and ranks up to `--max-lora-rank`, which is one of `RANKS`.  A rank between two of them is
filled up with zeros, so that the rank of the file is the number to give there.  The scaling
stays what it was: it is written as alpha / r, which every program understands, whereas rsLoRA's
alpha / sqrt(r) (Kalajdzievski 2023) is ignored by some.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ftjobs.backends.local.export.about import Found
from ftjobs.backends.local.export.check import compare, logits
from ftjobs.backends.local.export.source import Source, load_base, load_tokenizer, with_adapter
from ftjobs.backends.local.sources import Say
from ftjobs.errors import UnsupportedError

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM allows as `max_lora_rank`."""
_TOLERANCE = 1e-5
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_OTHERS = {_CONFIG, _WEIGHTS, "manifest.json", "README.md"}


def needed(source: Source) -> int:
    """About how many bytes `write` writes at most."""
    config = require(source)
    assert source.adapter is not None  # noqa: S101 — for the type checker: `require` has seen it
    total = sum(path.stat().st_size for path in source.adapter.iterdir())
    return math.ceil(total * rank_of(int(config["r"])) / int(config["r"]))


def require(source: Source) -> dict[str, Any]:
    """The adapter's settings, if vLLM could load it.

    Raises:
        UnsupportedError: it could not; the message says why.
    """
    config = source.adapter_config()
    for reason in _refusals(config):
        raise UnsupportedError(
            f"vLLM loads no adapter {reason}",
            hint="Merge it instead: --merged; PEFT loads the checkpoint's own folder.",
        )
    return config


def _refusals(config: Mapping[str, Any]) -> list[str]:
    found = {
        "that is not LoRA": config.get("peft_type") != "LORA",
        "with DoRA (use_dora)": config.get("use_dora"),
        "that replaces whole layers, as a classifier's does": config.get("modules_to_save"),
        "with a bias": config.get("bias", "none") != "none" or config.get("lora_bias"),
        "with ranks that differ by layer": config.get("rank_pattern"),
        "with alphas that differ by layer": config.get("alpha_pattern"),
        "of tokens": config.get("trainable_token_indices"),
        f"of a rank above {RANKS[-1]}": int(config.get("r", 0)) > RANKS[-1],
    }
    return [reason for reason, holds in found.items() if holds]


def write(source: Source, target: Path, say: Say) -> Found:
    """Write adapter, settings and tokenizer into `target`, and check that it computes the same.

    Raises:
        UnsupportedError: vLLM could not load it.
        ModelError: it computes something else, or the base cannot be loaded.
    """
    config = require(source)
    assert source.adapter is not None  # noqa: S101 — as above
    rank, scale = int(config["r"]), scaling(config)
    config |= {
        "r": rank_of(rank),
        "lora_alpha": _plain(alpha_for(scale, rank_of(rank))),
        "use_rslora": False,
        "base_model_name_or_path": source.about.hub_id or source.base.name,
        "inference_mode": True,
    }
    _write_weights(source.adapter / _WEIGHTS, target / _WEIGHTS, config["r"])
    (target / _CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True), "utf-8")
    for path in source.adapter.iterdir():
        if path.is_dir():  # a tokenizer's further chat templates
            shutil.copytree(path, target / path.name)
        elif path.name not in _OTHERS:
            shutil.copyfile(path, target / path.name)
    difference = _check(source, target, say)
    notes = {"rank": f"{config['r']} (trained: {rank})", "difference to training": difference}
    return Found(notes, rank=config["r"])


def rank_of(rank: int) -> int:
    """The smallest rank of vLLM that holds `rank`."""
    return next(allowed for allowed in RANKS if allowed >= rank)


def scaling(config: Mapping[str, Any]) -> float:
    """What an adapter's product is multiplied by, as PEFT computes it."""
    root = math.sqrt(config["r"]) if config.get("use_rslora") else config["r"]
    return float(config["lora_alpha"]) / float(root)


def alpha_for(scale: float, rank: int) -> float:
    """The alpha that gives `scale` when it is divided by `rank`, to the last bit where one does."""
    near = scale * rank
    candidates = (near, math.nextafter(near, math.inf), math.nextafter(near, 0.0))
    return min(candidates, key=lambda alpha: abs(alpha / rank - scale))


def _plain(alpha: float) -> float | int:
    return int(alpha) if alpha.is_integer() else alpha


def _write_weights(source: Path, target: Path, rank: int) -> None:
    """Copy the matrices, filled up with zeros to `rank`."""
    tensors = load_file(source)
    if unknown := [n for n in tensors if not n.endswith(("lora_A.weight", "lora_B.weight"))]:
        raise UnsupportedError(
            f"vLLM loads no adapter with {unknown[0].rpartition('.')[2]!r} in it",
            hint="Merge it instead: --merged",
        )
    filled = {name: _fill(tensor, rank, name) for name, tensor in tensors.items()}
    save_file(filled, target, metadata={"format": "pt"})


def _fill(tensor: torch.Tensor, rank: int, name: str) -> torch.Tensor:
    """A of shape (r, in) or B of shape (out, r) with zeros up to `rank`."""
    dim = 0 if name.endswith("lora_A.weight") else 1
    shape = list(tensor.shape)
    shape[dim] = rank - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim).contiguous()


def _check(source: Source, target: Path, say: Say) -> str:
    assert source.adapter is not None  # noqa: S101 — as above
    tokenizer = load_tokenizer(source)
    base = load_base(source, say)
    say("Comparing its logits with the checkpoint's")
    trained = with_adapter(base, source.adapter)
    expected = logits(trained, tokenizer)
    difference = compare(expected, logits(with_adapter(trained.unload(), target), tokenizer))
    difference.require(_TOLERANCE, what="the exported adapter")
    return str(difference)
