"""Keys and values of a batch whose rows come and go, in buffers that are made once in a while.

All rows end at the same column, so that a step writes one column for everybody, and what a row
lacks on its left is hidden by the mask of the attention.  A row that ends is replaced by the last
one; new rows, read on their own, are set in at the right.  Distances within a row are as they
would be alone, so sliding windows and every kind of position stay right.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

SPARE = 64
"""Columns made in advance: the buffers are made anew, layer by layer, when these are used up."""


@dataclass
class _Window:
    """What of the buffers is in use: the first `rows`, and the columns from `start` to `end`."""

    rows: int = 0
    start: int = 0
    end: int = 0

    @property
    def width(self) -> int:
        return self.end - self.start


class _Layer(CacheLayerMixin):  # type: ignore[misc]  # transformers has no types
    is_sliding = False  # all columns are kept, and the mask hides what is out of a window

    def __init__(self, window: _Window) -> None:
        super().__init__()
        self.window = window

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        columns = key_states.shape[-2] + SPARE
        self.keys = _zeros(key_states, self.window.rows, columns)
        self.values = _zeros(value_states, self.window.rows, columns)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows, start, old = self.window.rows, self.window.start, self.window.end
        end = old + key_states.shape[-2]
        self.keys[:rows, :, old:end] = key_states
        self.values[:rows, :, old:end] = value_states
        return self.keys[:rows, :, start:end], self.values[:rows, :, start:end]

    def move(self, rows: int, columns: int, indent: int) -> None:
        """Make buffers of this size and take along what is in use, `indent` columns from left."""
        window = self.window
        used = slice(window.start, window.end)
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = _zeros(old, rows, columns)
            new[: window.rows, :, indent : indent + window.width] = old[: window.rows, :, used]
            setattr(self, name, new)

    def get_seq_length(self) -> int:
        return self.window.width

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window.width + query_length, 0

    def get_max_length(self) -> int:
        return -1


class RowCache(Cache):  # type: ignore[misc]  # transformers has no types
    """Keys and values of `rows` answers.  Its methods are called between the model's steps."""

    def __init__(self, layers: int, rows: int) -> None:
        self.window = _Window(rows)
        super().__init__(layers=[_Layer(self.window) for _ in range(layers)])

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return self.window.rows

    @property
    def width(self) -> int:
        """Columns in use: the tokens of the longest row that have been read."""
        return self.window.width

    def make_room(self, columns: int) -> None:
        """Before a step that reads `columns` tokens a row."""
        if self.window.end + columns > self._columns:
            self._move(self.rows, self.width + columns + SPARE)

    def advance(self, columns: int) -> None:
        """After a step that has read `columns` tokens a row."""
        self.window.end += columns

    def drop(self, row: int) -> None:
        """Put the last row in place of `row`."""
        self.window.rows = last = self.rows - 1
        if row != last:
            for buffer in self._buffers():
                buffer[row] = buffer[last]

    def narrow(self, longest: int) -> None:
        """Forget the columns on the left that no row uses, now that the longest has `longest`."""
        self.window.start = max(self.window.start, self.window.end - longest)

    def select(self, picks: Sequence[int]) -> RowCache:
        """Only the rows `picks`, in this order, a row as often as it is named."""
        if list(picks) != list(range(self.rows)):
            chosen = torch.tensor(picks, dtype=torch.long)
            for layer in self.layers:
                if layer.is_initialized:
                    layer.keys = layer.keys[chosen.to(layer.keys.device)]
                    layer.values = layer.values[chosen.to(layer.values.device)]
            self.window.rows = len(picks)
        return self

    def join(self, other: RowCache, picks: Sequence[int]) -> None:
        """Add the rows `picks` of `other`, a row as often as it is named."""
        rows = self.rows + len(picks)
        if rows > self._capacity or other.width > self.window.end:
            wide = max(self.width, other.width)
            self._move(rows, wide + SPARE, indent=wide - self.width)
        start, end = self.window.end - other.width, self.window.end
        source = slice(other.window.start, other.window.end)
        for mine, theirs in zip(self._buffers(), other._buffers(), strict=True):
            added = mine[self.rows : rows]
            added[:, :, :start] = 0  # what is masked must be a number nevertheless
            added[:, :, start:end] = theirs[list(picks), :, source]
        self.window.rows, self.window.start = rows, min(self.window.start, start)

    def _buffers(self) -> Iterator[torch.Tensor]:
        for layer in self.layers:
            if layer.is_initialized:
                yield from (layer.keys, layer.values)

    def _move(self, rows: int, columns: int, indent: int = 0) -> None:
        for layer in self.layers:
            if layer.is_initialized:
                layer.move(rows, columns, indent)
        self.window.start, self.window.end = indent, indent + self.width

    @property
    def _capacity(self) -> int:
        return next((buffer.shape[0] for buffer in self._buffers()), self.rows)

    @property
    def _columns(self) -> int:
        """Columns of the buffers; none are lacking before the first step makes them."""
        return next((buffer.shape[-2] for buffer in self._buffers()), sys.maxsize)


def layers_of(config: Any) -> int:
    """How many layers of keys and values the model has, or 0 if its rows cannot be batched.

    They cannot where a layer keeps a running state, which padding would change (state-space and
    linear attention), or where the rotary frequencies follow the longest row of the batch.
    """
    layers = DynamicCache(config=config).layers
    plain = all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
    rope = str(getattr(config.get_text_config(), "rope_parameters", ""))
    follows = any(kind in rope for kind in ("'dynamic'", "'longrope'"))
    return len(layers) if plain and not follows else 0


def _zeros(like: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    return like.new_zeros(rows, like.shape[1], columns, like.shape[3])
