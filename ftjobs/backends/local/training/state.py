"""Adapter and optimiser as named tensors, and back, to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

Parameters = Mapping[str, torch.nn.Parameter]


def tensors_of(parameters: Parameters, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights as `weight.NAME`, and what the optimiser keeps of each as `KEY.NAME`."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"weight.{name}"] = parameter.detach()
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                value = torch.as_tensor(value)
                # Parameters share bitsandbytes' tables, and safetensors takes no tensor twice.
                tensors[f"{key}.{name}"] = value.clone() if key.startswith("qmap") else value
    return tensors


@torch.no_grad()
def take_over(
    tensors: Mapping[str, torch.Tensor], parameters: Parameters, optimizer: torch.optim.Optimizer
) -> None:
    """The reverse of `tensors_of`.  KeyError if the tensors are of another model or recipe."""
    named: dict[str, dict[str, Any]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        named.setdefault(name, {})[kind] = value
    kept = {}
    for place, (name, parameter) in enumerate(parameters.items()):
        parameter.copy_(named[name].pop("weight"))
        if named[name]:
            kept[place] = {kind: _number_or_copy(value) for kind, value in named[name].items()}
    # The optimiser knows which of its values belong on the device of their parameter.
    optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})


def _number_or_copy(value: torch.Tensor) -> Any:
    # torch counts steps in a float tensor, bitsandbytes in an int.
    return int(value) if value.dim() == 0 and value.dtype == torch.int64 else value.clone()
