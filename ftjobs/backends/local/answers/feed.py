"""One step of a batch: tokens in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.rows import RowCache


def feed(
    engine: Engine,
    cache: RowCache,
    ids: Sequence[Sequence[int]],
    lengths: Sequence[int],
    names: Sequence[str],
    *,
    keep: int = 1,
) -> torch.Tensor:
    """Read the next tokens of each row, which then has `lengths` of them; rows end together.

    Rows of `ids` that are shorter than the longest are filled up on the left.  `names` are the
    rows' adapters.  Returns logits, float32, of the last `keep` columns: shape (rows, keep,
    vocabulary).
    """
    new = max(len(row) for row in ids)
    padded = torch.tensor([[0] * (new - len(row)) + list(row) for row in ids])
    columns = torch.arange(cache.width + new)
    first = (len(columns) - torch.tensor(lengths)).unsqueeze(1)
    mask = columns >= first
    cache.make_room(new)
    logits = engine.forward(
        padded,
        cache,
        names,
        keep=keep,
        position_ids=(columns[-new:] - first).clamp(min=0).to(engine.device),
        # Without padding, the fastest kernels know the mask by themselves.
        attention_mask=None if mask.all() else mask.to(engine.device),
    )
    cache.advance(new)
    return logits


def token_bytes(engine: Engine) -> int:
    """What one token takes in the cache: 2 × layers × key-value heads × head size × dtype."""
    config = engine.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * engine.layers * heads * size * engine.model.dtype.itemsize)
