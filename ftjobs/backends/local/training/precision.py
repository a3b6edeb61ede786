"""The types that frozen weights are kept in, and what each asks of loading and of gradients.

Adapters are float32 always.  int8 is LLM.int8() (Dettmers et al. 2022), int4 the NormalFloat of
QLoRA with double quantisation (Dettmers et al. 2023), both by bitsandbytes; what is computed is
bfloat16 where the hardware multiplies it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import torch

from ftjobs.backends.local import models
from ftjobs.errors import TrainingError

QUANTISED = frozenset({"int8", "int4"})
LARGEST = 2.0**16
"""What the loss is multiplied by at first, in float16; torch's GradScaler begins there too."""


def choose(asked: str | None, device: str) -> str:
    """The type for frozen weights: what was asked for if it is possible here.

    Raises:
        TrainingError: it is not.
    """
    if asked in (None, "auto"):
        return models.pick_dtype(device)
    if asked == "float16" and device == "cpu":
        raise _refused("float16 is not computed at speed on a CPU", "Choose bfloat16 or float32.")
    if asked in QUANTISED and importlib.util.find_spec("bitsandbytes") is None:
        raise _refused(f"{asked} needs bitsandbytes", "pip install 'ftjobs[bitsandbytes]'")
    return str(asked)


def _refused(message: str, hint: str) -> TrainingError:
    return TrainingError(
        f"dtype: {message}", code="invalid_hyperparameter", param="dtype", hint=hint
    )


def loading(dtype: str, device: str) -> dict[str, Any]:
    """What `from_pretrained` is told of a type and a device.

    Quantised weights are put on their device as they are read, since they cannot be moved later.
    """
    if dtype not in QUANTISED:
        return {"dtype": getattr(torch, dtype)}
    computed = getattr(torch, models.pick_dtype(device))
    place = torch.cuda.current_device() if device == "cuda" else device
    return {
        "dtype": computed,
        "device_map": {"": place},
        "quantization_config": quantisation(dtype, computed),
    }


def placed(model: Any, dtype: str, device: str) -> Any:
    """A model that was loaded with `loading`, on its device and fit for training."""
    if dtype not in QUANTISED:
        return model.to(device)
    for module in model.modules():
        # Some CPUs: the first validation would pack 4-bit weights anew, for a kernel that has no
        # backward pass, and whatever is learned afterwards would be wrong.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model


def quantisation(dtype: str, computed: torch.dtype) -> Any:
    """How bitsandbytes keeps linear layers; the head, embeddings and norms stay `computed`."""
    from transformers import BitsAndBytesConfig

    if dtype == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computed,
    )


class LossScale:
    """Keeps small gradients from vanishing in float16, whose smallest number is 6e-8.

    The loss is multiplied by a power of two, and gradients are divided by it.  Where they overflow,
    the step is computed again with half of it: no step is skipped, as GradScaler would, so that a
    run stays what its recipe says.  In other types the factor is 1.
    """

    def __init__(self, dtype: str) -> None:
        self.factor = LARGEST if dtype == "float16" else 1.0

    def divide(self, parameters: Iterable[torch.nn.Parameter]) -> bool:
        """Undo the factor in the gradients.  False, with a smaller factor, if they overflowed."""
        if self.factor == 1.0:
            return True
        gradients = [p.grad for p in parameters if p.grad is not None]
        norms = torch.stack(torch._foreach_norm(gradients)) if gradients else torch.zeros(1)
        if not bool(torch.isfinite(norms).all()):
            self.factor /= 2
            return False
        torch._foreach_div_(gradients, self.factor)
        return True
