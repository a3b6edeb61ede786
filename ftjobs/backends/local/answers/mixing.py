"""A base and its adapters in one batch: each row gets what its own adapter adds.

Every base layer is computed once, for all rows, with PEFT's adapters switched off.  A hook then
adds `B(A(x) * scaling)` (Hu et al. 2021) to the rows of each adapter.  So a change of adapters
costs nothing, where PEFT's own switch visits every layer.  PEFT can mix adapters in a batch too,
but copies rows in and out by lists of Python numbers, and knows LoRA only; here, what is more than
LoRA on a linear layer is computed anew by PEFT for its rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

Rows = slice | torch.Tensor
"""Rows of a batch: neighbours as a slice, which copies nothing, others as their numbers."""
Mix = tuple[tuple[str, Rows], ...]
"""Names of adapters and the rows that each of them answers; a row of none is the base's."""


def mix(names: Sequence[str], device: str) -> Mix:
    """Which rows belong to which adapter, from the adapter of each row ("" is the base)."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(name, []).append(row)
    return tuple((name, _rows(found, device)) for name, found in rows.items() if name)


def _rows(found: list[int], device: str) -> Rows:
    first, last = found[0], found[-1]
    if last - first + 1 == len(found):
        return slice(first, last + 1)
    return torch.tensor(found, device=device)


class Mixer:
    """Adds adapters to the rows of a batch, in the layers that PEFT has put around a model's."""

    def __init__(self) -> None:
        self._mix: Mix = ()
        self._layers: set[Any] = set()

    def attach(self, model: Any) -> None:
        """Hook every adapted layer of `model`.  To be called after each adapter is loaded."""
        from peft.tuners.lora import LoraLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        model.base_model.disable_adapter_layers()
        for layer in model.modules():
            if layer in self._layers:
                continue
            if isinstance(layer, LoraLayer):
                layer.register_forward_hook(self._add)
                self._layers.add(layer)
            elif isinstance(layer, AuxiliaryTrainingWrapper):  # weights that were trained whole
                layer.register_forward_hook(self._replace)
                self._layers.add(layer)

    @contextlib.contextmanager
    def mixed(self, wanted: Mix) -> Iterator[None]:
        """Until the end of the block, add these adapters to these rows."""
        self._mix = wanted
        try:
            yield
        finally:
            self._mix = ()

    def _add(self, layer: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        for name, rows in self._mix:
            if name not in layer.scaling:
                continue
            if not _is_plain(layer, name):
                _ask_peft(layer, name, rows, inputs, output)
                continue
            down, up = layer.lora_A[name], layer.lora_B[name]
            narrow = down(inputs[0][rows].to(down.weight.dtype))
            added = up(narrow * layer.scaling[name])
            if isinstance(rows, slice):
                output[rows].add_(added)
            else:
                output[rows] = (output[rows] + added).to(output.dtype)

    def _replace(self, layer: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        for name, rows in self._mix:
            try:
                layer.set_adapter(name)
            except ValueError:  # the adapter has none of these weights
                continue
            _ask_peft(layer, name, rows, inputs, output)


def _is_plain(layer: Any, name: str) -> bool:
    """True for LoRA on a linear layer; not for DoRA, embeddings or quantised layers."""
    from peft.tuners.lora import Linear

    return isinstance(layer, Linear) and name not in layer.lora_variant


def _ask_peft(
    layer: Any, name: str, rows: Rows, inputs: tuple[Any, ...], output: torch.Tensor
) -> None:
    """Let PEFT compute these rows anew with the adapter: slower, and right for every kind."""
    layer.set_adapter(name)
    layer.enable_adapters(True)
    try:
        output[rows] = layer.forward(inputs[0][rows]).to(output.dtype)
    finally:
        layer.enable_adapters(False)
