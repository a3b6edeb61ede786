"""The processes that train one adapter together; alone, there is nothing to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch

T = TypeVar("T")


class Alone:
    """One process."""

    rank = 0

    def share(self, parts: Sequence[T]) -> Sequence[T]:
        """This process's micro-batches of a step."""
        return parts

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""

    def add(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """Sums over all processes, by name."""
        return dict(numbers)
