"""Inputs that are hidden at random while learning (`token_mask_probability`).

As in H2O LLM Studio, a hidden token is replaced by one that means nothing.  Unlike there, the
model is still asked for it where it is supervised: labels never change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from typing import Any, TypeVar

from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens

T = TypeVar("T")


def blank_of(tokenizer: Any) -> int:
    """The token that stands for a hidden one: mask, unknown, padding, else end of sequence."""
    names = ("mask", "unk", "pad", "eos")
    found = (getattr(tokenizer, f"{name}_token_id", None) for name in names)
    return int(next(token for token in found if token is not None))


def hide(item: T, recipe: Recipe, *, number: int, index: int) -> T:
    """The example `index` as step `number` reads it; `item` itself if nothing is to be hidden.

    Each token is replaced with the recipe's probability.  Which ones is a function of (seed,
    step, example) alone, so that neither a resume nor micro-batches change it.
    """
    share = recipe.token_mask_probability
    if not share or not isinstance(item, Tokens):
        return item
    label = f"{recipe.seed}:{number}:{index}:mask".encode()
    noise = hashlib.shake_256(label).digest(4 * len(item.ids))
    draws = struct.unpack(f"<{len(item.ids)}I", noise)
    bar = share * 2**32
    shown = (
        recipe.mask_token if draw < bar else token
        for token, draw in zip(item.ids, draws, strict=True)
    )
    return dataclasses.replace(item, shown=tuple(shown))
