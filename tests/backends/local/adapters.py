"""Adapters with random weights for tiny models: what training would save, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftjobs.backends.local import checkpoints, models


def save_adapter(folder: Path, base: Path, *, seed: int = 0, std: float = 0.3, **lora: Any) -> Path:
    """LoRA on every linear layer of `base`; with NaN for `std`, an adapter that is broken."""
    import torch
    from peft import LoraConfig, get_peft_model

    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    with models.quietly():
        model = models.load_model(base, dtype="float32", device="cpu")
        torch.manual_seed(seed)
        adapted = get_peft_model(model, LoraConfig(**(settings | lora)))
    for name, weights in adapted.named_parameters():
        if "lora_B" in name:
            weights.data = torch.randn_like(weights) * std
        elif "modules_to_save" in name:
            weights.data += torch.randn_like(weights) * 0.1
    checkpoints.save_adapter(
        folder, adapted, models.load_tokenizer(base), {"base_model": str(base)}
    )
    return folder
