"""Whether two models compute the same: their logits on a few fixed texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ftjobs.errors import ModelError

TEXTS = (
    "The capital of France is Paris, and the one of Japan is Tokyo.",
    "富士山の高さは3776メートルです。東京から見えますか？",
    "def add(a: int, b: int) -> int:\n    return a + b  # 2 + 3 = 5 🙂",
)
"""Nobody's training data: the same for every model, and in no card."""
_ANSWER = 8  # tokens that a decoder is fed beside an encoder


@dataclass(frozen=True)
class Difference:
    """How far two models are apart.

    `relative` is the largest difference of two logits, divided by the largest logit; `changed` of
    `positions` places have another likeliest token (or label).
    """

    relative: float
    changed: int
    positions: int

    def require(self, tolerance: float, *, what: str) -> None:
        """ModelError if they are further apart than `tolerance`; NaN is."""
        if not self.relative <= tolerance:
            raise ModelError(
                f"{what}: its logits are off by {self.relative:.1e}, and {tolerance:.0e} is the "
                "most that rounding explains; nothing was written",
                hint="Please report it, with the name of the base model.",
            )

    def __str__(self) -> str:
        return (
            f"{self.relative:.1e} of the largest logit, {self.changed} of {self.positions} tokens"
        )


@torch.no_grad()
def logits(model: Any, tokenizer: Any) -> list[torch.Tensor]:
    """What a model says of each of `TEXTS`: float32 logits, shape (positions, vocabulary)."""
    model.eval()
    found = []
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        given = {"input_ids": ids.to(model.device)}
        if model.config.is_encoder_decoder:
            given["decoder_input_ids"] = given["input_ids"][:, :_ANSWER]
        found.append(model(**given).logits.float().cpu().flatten(0, -2))
    return found


def compare(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> Difference:
    """How far the `second` model's logits are from the first's."""
    a, b = torch.cat(list(first)), torch.cat(list(second))
    relative = ((a - b).abs().max() / a.abs().max().clamp_min(1e-30)).item()
    changed = int((a.argmax(dim=-1) != b.argmax(dim=-1)).sum())
    return Difference(relative, changed, a.shape[0])
