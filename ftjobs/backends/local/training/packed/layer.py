"""One Llama-like decoder layer with LoRA, forward and backward by hand.

    x' = x + attention(rms(x)),   y = x' + mlp(rms(x'))

Every projection is `x W' + scale * (x A') B'` (Hu et al. 2021).  Projections of the same input are
one: their W and A stand one above the other, their B in a block diagonal.  Kept for the backward
pass: x, x', queries, keys and values after rotation, attention's output, gate, silu(gate) and up.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from ftjobs.backends.local.training.packed.attention import Group, attend, attend_back


@dataclass(frozen=True)
class Adapted:
    """A projection's LoRA: rows `start` to `end` of the fused output, and alpha / r."""

    start: int
    end: int
    scale: float


@dataclass(frozen=True)
class Projection:
    """Frozen weight (out, in) of projections of one input, with those that are adapted."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    adapted: tuple[Adapted, ...]


@dataclass(frozen=True)
class Layer:
    """The frozen part of a layer.  `q_norm` and `k_norm`: Qwen 3 normalises each head."""

    qkv: Projection
    out: Projection
    gate_up: Projection
    down: Projection
    norm_in: torch.Tensor
    norm_mlp: torch.Tensor
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    heads: int
    kv_heads: int
    epsilon: float

    @property
    def projections(self) -> tuple[Projection, ...]:
        """In the order in which their A and B are given to `apply`."""
        return (self.qkv, self.out, self.gate_up, self.down)


@dataclass(frozen=True)
class Packed:
    """Where examples lie in the row, and each token's rotation: cos and sin, (tokens, 1, size).

    Of `sin`, the first half is negated, so that a rotation is `x cos + swapped(x) sin`.
    """

    parts: Sequence[Group]
    cos: torch.Tensor
    sin: torch.Tensor


class _Low:
    """A, times its scale, and B of a fused projection, in the dtype of the activations."""

    def __init__(self, projection: Projection, factors: Sequence[torch.Tensor]) -> None:
        self.adapted, self.dtype = projection.adapted, factors[0].dtype
        dtype = projection.weight.dtype
        downs, ups = factors[::2], factors[1::2]
        ranks = [len(down) for down in downs]
        scales = [each.scale for each in self.adapted]
        self.scales = torch.tensor(scales).repeat_interleave(torch.tensor(ranks))[:, None]
        self.a = (torch.cat(list(downs)) * self.scales.to(downs[0])).to(dtype)
        ends = list(itertools.accumulate(ranks))
        self.columns = [slice(end - rank, end) for end, rank in zip(ends, ranks, strict=True)]
        if len(ups) == 1 and len(ups[0]) == len(projection.weight):
            self.b = ups[0].to(dtype)
            return
        self.b = self.a.new_zeros(len(projection.weight), len(self.a))
        for each, up, columns in zip(self.adapted, ups, self.columns, strict=True):
            self.b[each.start : each.end, columns] = up

    def gradients(
        self, grad: torch.Tensor, x: torch.Tensor, grad_low: torch.Tensor
    ) -> list[torch.Tensor]:
        """Of each A and B, in their own dtype, from those of output and low-rank space."""
        a = (grad_low.t() @ x).to(self.dtype).mul_(self.scales.to(grad_low.device, self.dtype))
        b = (grad.t() @ (x @ self.a.t())).to(self.dtype)
        found: list[torch.Tensor] = []
        for each, columns in zip(self.adapted, self.columns, strict=True):
            found += [a[columns], b[each.start : each.end, columns]]
        return found


def _project(x: torch.Tensor, projection: Projection, low: _Low | None) -> torch.Tensor:
    output = functional.linear(x, projection.weight, projection.bias)
    return output if low is None else output.addmm_(x @ low.a.t(), low.b.t())


def _project_back(
    grad: torch.Tensor, x: torch.Tensor, projection: Projection, low: _Low | None
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Gradients of the input and of the low-rank factors."""
    output = grad @ projection.weight
    if low is None:
        return output, []
    grad_low = grad @ low.b
    return output.addmm_(grad_low, low.a), low.gradients(grad, x, grad_low)


def _rms(x: torch.Tensor, epsilon: float) -> torch.Tensor:
    """1 / sqrt(mean(x²) + ε) of each row, (…, 1), at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    length: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


def _scaled(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """`x` times a wider factor for each row, rounded once.

    Torch would convert all of a bfloat16 `x` first.  The factor as the sum of two bfloat16 numbers
    has 16 bits, and `addcmul` computes in float32.
    """
    high = factor.to(x.dtype)
    if high.dtype == factor.dtype:
        return x * factor
    low = (factor - high).to(x.dtype)
    return torch.addcmul(x * low, x, high)


def _normed(x: torch.Tensor, rms: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """RMSNorm (Zhang and Sennrich 2019), rounded before the weight as transformers does."""
    return _scaled(x, rms).mul_(weight)


def _norm_back(
    grad: torch.Tensor, x: torch.Tensor, rms: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The gradient of the input of `_normed`; `grad` is overwritten."""
    grad.mul_(weight)
    inner = torch.linalg.vecdot(grad, x).unsqueeze(-1).to(rms.dtype)
    along = inner.mul_(rms.pow(3)).div_(x.shape[-1])
    return _scaled(grad, rms).addcmul_(x, along.to(x.dtype), value=-1)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, *, back: bool) -> None:
    """Rotary position embedding (Su et al. 2021) of (tokens, heads, size), in place."""
    half = x.shape[-1] // 2
    swapped = torch.cat((x[..., half:], x[..., :half]), dim=-1)
    x.mul_(cos).addcmul_(swapped, sin, value=-1 if back else 1)


def _silu_mul_back(grad: torch.Tensor, gate_up: torch.Tensor, silu: torch.Tensor) -> torch.Tensor:
    """The gradient of gate and up, from that of `silu(gate) * up`, which is overwritten."""
    gate, up = gate_up.chunk(2, dim=1)
    output = torch.empty_like(gate_up)
    width = gate.shape[1]
    torch.mul(silu, grad, out=output[:, width:])
    torch.ops.aten.silu_backward.grad_input(grad.mul_(up), gate, grad_input=output[:, :width])
    return output


class _DecoderLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layer: Layer, packed: Packed, *factors: torch.Tensor
    ) -> torch.Tensor:
        """The layer's output, (tokens, hidden)."""
        lows = _lows(layer, factors)
        rms_in = _rms(x, layer.epsilon)
        qkv = _project(_normed(x, rms_in, layer.norm_in), layer.qkv, lows[0])
        qkv = qkv.view(len(x), layer.heads + 2 * layer.kv_heads, -1)
        raw = _normed_heads(qkv, layer)
        _rotate(qkv[:, : layer.heads + layer.kv_heads], packed.cos, packed.sin, back=False)
        attended, sums = attend(qkv, layer.heads, layer.kv_heads, packed.parts)
        middle = _project(attended, layer.out, lows[1]).add_(x)
        rms_mlp = _rms(middle, layer.epsilon)
        gate_up = _project(_normed(middle, rms_mlp, layer.norm_mlp), layer.gate_up, lows[2])
        gate, up = gate_up.chunk(2, dim=1)
        silu = functional.silu(gate)
        output = _project(silu * up, layer.down, lows[3]).add_(middle)
        if any(ctx.needs_input_grad):
            ctx.layer, ctx.packed, ctx.lows = layer, packed, lows
            ctx.raw, ctx.count = raw is not None, len(sums)
            kept = (x, rms_in, qkv, attended, middle, rms_mlp, gate_up, silu, *sums)
            ctx.save_for_backward(*kept, *((raw,) if raw is not None else ()))
        return output

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of x, if it has one, and of the factors."""
        layer, packed = ctx.layer, ctx.packed
        x, rms_in, qkv, attended, middle, rms_mlp, gate_up, silu, *rest = ctx.saved_tensors
        sums, raw = rest[: ctx.count], rest[-1] if ctx.raw else None
        lows = ctx.lows

        back, down = _project_back(grad, silu * gate_up.chunk(2, dim=1)[1], layer.down, lows[3])
        back, gate = _project_back(
            _silu_mul_back(back, gate_up, silu),
            _normed(middle, rms_mlp, layer.norm_mlp),
            layer.gate_up,
            lows[2],
        )
        grad = _norm_back(back, middle, rms_mlp, layer.norm_mlp).add_(grad)
        back, out = _project_back(grad, attended, layer.out, lows[1])
        back = attend_back(back, attended, sums, qkv, layer.heads, layer.kv_heads, packed.parts)
        _rotate(back[:, : layer.heads + layer.kv_heads], packed.cos, packed.sin, back=True)
        if raw is not None:
            _heads_back(back, raw, layer)
        normed = _normed(x, rms_in, layer.norm_in)
        back, qkv_found = _project_back(back.view(len(x), -1), normed, layer.qkv, lows[0])
        if not ctx.needs_input_grad[0]:
            return (None, None, None, *qkv_found, *out, *gate, *down)
        grad = _norm_back(back, x, rms_in, layer.norm_in).add_(grad)
        return (grad, None, None, *qkv_found, *out, *gate, *down)


def decoder_layer(
    x: torch.Tensor, layer: Layer, packed: Packed, *factors: torch.Tensor
) -> torch.Tensor:
    """The layer's output, (tokens, hidden), from its input.

    `factors` are A, B, A, B, … in the order of `Layer.projections` and of each one's `adapted`, of
    any floating dtype; they and `x` may have gradients.
    """
    output: torch.Tensor = _DecoderLayer.apply(x, layer, packed, *factors)  # type: ignore[no-untyped-call]
    return output


def _lows(layer: Layer, factors: Sequence[torch.Tensor]) -> list[_Low | None]:
    found: list[_Low | None] = []
    start = 0
    for projection in layer.projections:
        end = start + 2 * len(projection.adapted)
        found.append(_Low(projection, factors[start:end]) if projection.adapted else None)
        start = end
    return found


def _normed_heads(qkv: torch.Tensor, layer: Layer) -> torch.Tensor | None:
    """Normalise queries and keys of each head in place; what they were, if there is such a norm."""
    if layer.q_norm is None or layer.k_norm is None:
        return None
    both = qkv[:, : layer.heads + layer.kv_heads]
    raw = both.clone()
    both.mul_(_rms(raw, layer.epsilon))
    both[:, : layer.heads].mul_(layer.q_norm)
    both[:, layer.heads :].mul_(layer.k_norm)
    return raw


def _heads_back(back: torch.Tensor, raw: torch.Tensor, layer: Layer) -> None:
    rms = _rms(raw, layer.epsilon)
    for part, weight in (
        (slice(0, layer.heads), layer.q_norm),
        (slice(layer.heads, layer.heads + layer.kv_heads), layer.k_norm),
    ):
        assert weight is not None  # noqa: S101 — for the type checker
        back[:, part] = _norm_back(back[:, part].contiguous(), raw[:, part], rms[:, part], weight)
