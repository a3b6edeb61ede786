"""Causal attention over examples in one row of tokens: each sees its own path through it only.

Examples of like length are computed together, by torch's flash attention.  Its backward pass in
bfloat16 is slow on CPUs where examples are short (9.3 ms against 1.4 for eight of 96 tokens on two
cores): there, plain matrix products compute the probabilities again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

SHORT = 384
"""Tokens up to which plain products are the faster backward pass in bfloat16."""
WASTE = 1.5
"""A group's longest example has at most so many times the tokens of its shortest."""
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Group:
    """Neighbouring examples: rows `start` to `end` of the packed tokens are theirs.

    Side by side, filled up to `longest` tokens each, these rows would lie at the places `real`;
    `fill` is the row that each place is filled from.  Both are None where that is the rows
    themselves.  `mask` is added to scores, where plain products compute them.
    """

    start: int
    end: int
    count: int
    longest: int
    real: torch.Tensor | None
    fill: torch.Tensor | None
    borrowed: Borrowed | None
    mask: torch.Tensor | None


@dataclass(frozen=True)
class Borrowed:
    """Places of a group whose row is that of an earlier example: `rows[which]`, of its `rows`."""

    places: torch.Tensor
    rows: torch.Tensor
    which: torch.Tensor


def groups(
    paths: Sequence[Sequence[int]], *, dtype: torch.dtype, device: torch.device
) -> list[Group]:
    """How to compute packed examples, longest first; `paths` as `tree.Row` has them."""
    own, end = [], 0
    for path in paths:
        if path[-1] >= end:  # else all of it is borrowed, and computed there
            own.append((end, path))
            end = path[-1] + 1
    cuts = [0]
    for i, (_, path) in enumerate(own):
        first = len(own[cuts[-1]][1])
        if i > cuts[-1] and max(first, len(path)) > WASTE * min(first, len(path)):
            cuts.append(i)
    cuts.append(len(own))
    return [_group(own[a:b], dtype, device) for a, b in pairwise(cuts)]


def _group(
    own: Sequence[tuple[int, Sequence[int]]], dtype: torch.dtype, device: torch.device
) -> Group:
    """Of pairs of an example's first row of its own, and its path."""
    start, end, longest = own[0][0], own[-1][1][-1] + 1, max(len(path) for _, path in own)
    real = fill = borrowed = mask = None
    if longest <= SHORT and dtype == torch.bfloat16:
        mask = torch.full((longest, longest), -math.inf, dtype=dtype, device=device).triu(1)
    if end - start < len(own) * longest:
        # Places beyond an example's end are filled from its last token: finite, and unseen.
        fill = torch.tensor([[*path, *[path[-1]] * (longest - len(path))] for _, path in own])
        first = torch.tensor([row for row, _ in own])[:, None]
        inside = torch.arange(longest) < torch.tensor([len(path) for _, path in own])[:, None]
        real = ((fill >= first) & inside).flatten().nonzero().squeeze(1).to(device)
        others = (fill < first).flatten().nonzero().squeeze(1)
        fill = fill.flatten()
        if len(others):
            rows, which = torch.unique(fill[others], return_inverse=True)
            borrowed = Borrowed(others.to(device), rows.to(device), which.to(device))
        fill = fill.to(device)
    return Group(start, end, len(own), longest, real, fill, borrowed, mask)


def attend(
    qkv: torch.Tensor, heads: int, kv_heads: int, parts: Sequence[Group]
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Attention's output, (tokens, heads × size), from rotated queries, keys and values.

    `qkv` has shape (tokens, heads + 2 × kv_heads, size).  Scale: 1 / sqrt(size).  Also returns what
    `attend_back` needs besides.
    """
    size = qkv.shape[2]
    output = qkv.new_empty(qkv.shape[0], heads, size)
    sums = []
    for part in parts:
        q, k, v = _heads(qkv, heads, kv_heads, part)
        found, logsumexp = _flash(q, k, v, 0.0, True)
        output[part.start : part.end] = _rows(found, part)
        sums.append(logsumexp)
    return output.view(-1, heads * size), tuple(sums)


def attend_back(
    grad: torch.Tensor,
    output: torch.Tensor,
    sums: Sequence[torch.Tensor],
    qkv: torch.Tensor,
    heads: int,
    kv_heads: int,
    parts: Sequence[Group],
) -> torch.Tensor:
    """The gradient of `attend` with respect to `qkv`, of its shape, from that of its output."""
    size = qkv.shape[2]
    found = torch.empty_like(qkv)
    grad, output = grad.view(-1, heads, size), output.view(-1, heads, size)
    for part, logsumexp in zip(parts, sums, strict=True):
        back = _spread(grad, part).transpose(1, 2)
        if part.mask is not None:
            dq, dk, dv = _plain_back(back, qkv, heads, kv_heads, part)
        else:
            q, k, v = _heads(qkv, heads, kv_heads, part)
            out = _filled(output, part).transpose(1, 2)
            dq, dk, dv = _flash_back(back, q, k, v, out, logsumexp, 0.0, True)
            dk, dv = _summed(dk, kv_heads), _summed(dv, kv_heads)
        target = found[part.start : part.end]
        target[:, :heads] = _rows(dq, part)
        target[:, heads : heads + kv_heads] = _rows(dk, part)
        target[:, heads + kv_heads :] = _rows(dv, part)
        if part.borrowed is not None:
            _give_back(found[:, heads:], dk, dv, part.borrowed)
    return found


def _give_back(found: torch.Tensor, dk: torch.Tensor, dv: torch.Tensor, borrowed: Borrowed) -> None:
    """Add what borrowed keys and values are due to the rows that they are, rounding once."""
    given = torch.cat((dk, dv), dim=1).transpose(1, 2).flatten(0, 1)
    wide = torch.promote_types(found.dtype, torch.float32)
    sums = found.index_select(0, borrowed.rows).to(wide)
    sums.index_add_(0, borrowed.which, given.index_select(0, borrowed.places).to(wide))
    found.index_copy_(0, borrowed.rows, sums.to(found.dtype))


def _plain_back(
    back: torch.Tensor, qkv: torch.Tensor, heads: int, kv_heads: int, part: Group
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of queries, keys and values, each of shape (examples, its heads, longest, size).

    The queries that share a key are rows of one matrix, so that no key is repeated.
    """
    assert part.mask is not None  # noqa: S101 — for the type checker
    group, longest, size = heads // kv_heads, part.longest, qkv.shape[2]
    rows = _filled(qkv, part).transpose(1, 2)
    q, k, v = torch.split(rows, [heads, kv_heads, kv_heads], dim=1)
    q, back = (t.reshape(-1, group * longest, size) for t in (q, back))
    k, v = (t.reshape(-1, longest, size) for t in (k, v))
    scale = 1 / math.sqrt(size)
    mask = part.mask.repeat(group, 1)
    probabilities = torch.softmax(torch.baddbmm(mask, q, k.transpose(1, 2), alpha=scale), dim=-1)
    inner = torch.bmm(back, v.transpose(1, 2))
    scores = torch._softmax_backward_data(inner, probabilities, -1, inner.dtype).mul_(scale)
    found = (
        torch.bmm(scores, k),
        torch.bmm(scores.transpose(1, 2), q),
        torch.bmm(probabilities.transpose(1, 2), back),
    )
    dq, dk, dv = (t.view(part.count, -1, longest, size) for t in found)
    return dq, dk, dv


def _heads(
    qkv: torch.Tensor, heads: int, kv_heads: int, part: Group
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values, each of shape (examples, heads, longest, size)."""
    rows = _filled(qkv, part).transpose(1, 2)
    q, k, v = torch.split(rows, [heads, kv_heads, kv_heads], dim=1)
    if kv_heads == heads:
        return q, k, v
    group = heads // kv_heads
    return q, k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)


def _filled(rows: torch.Tensor, part: Group) -> torch.Tensor:
    """All (tokens, heads, size) → the group's (examples, longest, heads, size)."""
    fill, own = part.fill, slice(part.start, part.end)
    rows = rows[own] if fill is None else rows.index_select(0, fill)
    return rows.view(part.count, part.longest, *rows.shape[1:])


def _spread(rows: torch.Tensor, part: Group) -> torch.Tensor:
    """As `_filled`, with zeros at the places that are not the group's own."""
    own = rows[part.start : part.end]
    if part.real is not None:
        filled = own.new_zeros(part.count * part.longest, *own.shape[1:])
        own = filled.index_copy_(0, part.real, own)
    return own.view(part.count, part.longest, *own.shape[1:])


def _rows(found: torch.Tensor, part: Group) -> torch.Tensor:
    """The inverse of `_spread`, from (examples, heads, longest, size)."""
    rows = found.transpose(1, 2).flatten(0, 1)
    return rows if part.real is None else rows.index_select(0, part.real)


def _summed(found: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """Over the queries that share a key: (…, heads, longest, size) → (…, kv_heads, …)."""
    examples, _, longest, size = found.shape
    return found.view(examples, kv_heads, -1, longest, size).sum(dim=2)
