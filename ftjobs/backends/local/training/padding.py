"""Rows of token ids of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, long, and where they are real, bool: both of shape (rows, longest), filled on the right.

    What is filled in is 0, and never looked at: padding is known by its place, not by its id.
    """
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    real = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        real[number, : len(row)] = True
    return ids, real
