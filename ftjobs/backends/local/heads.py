"""What a frozen base model is made to be before its adapter: without dropout, its head trainable.

Only an encoder gets a head that is trained whole: the one that turns it into a classifier, which
no base model brings along for the answers of a job.
"""

from __future__ import annotations

from typing import Any

import torch

from ftjobs.backends.local.families import Family


def switch_off_dropout(config: Any) -> None:
    """Set every dropout of a configuration to 0.

    Weights that are frozen need none, and with it a step would depend on how it is cut into
    micro-batches.  The adapter's own, `lora_dropout`, is another matter.
    """
    for name, value in vars(config).items():
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(value, float):
            setattr(config, name, 0.0)


def prepare_heads(model: Any) -> set[str]:
    """Make the modules that turn an encoder into a classifier float32, and name them.

    These are the model's parts beside the encoder, and the encoder's pooler, which many encoders
    lack.  They are learned as a whole, so they need float32 as adapters do: in bfloat16 most
    updates would be lost (its steps near 1 are 2**-7).
    """
    names = head_names(model)
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in names:
            module.float().register_forward_pre_hook(_in_float32)
    return names


def head_names(model: Any) -> set[str]:
    """The names of these modules, as PEFT's `modules_to_save` takes them."""
    encoder = model.base_model
    heads = {
        name
        for name, module in model.named_children()
        if module is not encoder and any(True for _ in module.parameters())
    }
    pooler = getattr(encoder, "pooler", None)
    return heads | {"pooler"} if isinstance(pooler, torch.nn.Module) else heads


def family_of(model: Any) -> Family:
    """The family of a model that is loaded, with or without an adapter."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if getattr(base.config, "is_encoder_decoder", False):
        return "encoder-decoder"
    classifies = type(base).__name__.endswith("ForSequenceClassification")
    return "classifier" if classifies else "decoder"


def lora_settings(model: Any) -> dict[str, Any]:
    """What PEFT's `LoraConfig` is told by family: the task, and what is trained whole."""
    kind = family_of(model)
    if kind == "classifier":
        return {"task_type": "SEQ_CLS", "modules_to_save": sorted(head_names(model))}
    return {"task_type": "SEQ_2_SEQ_LM" if kind == "encoder-decoder" else "CAUSAL_LM"}


def _in_float32(_module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        each.float() if isinstance(each, torch.Tensor) and each.is_floating_point() else each
        for each in inputs
    )
