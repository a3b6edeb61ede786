"""Answers from a model in the middle of its training, with the weights as they stand.

Nothing is loaded or copied.  The likeliest token is taken each time, so no random number is
drawn; no gradient is recorded, and the model is set back to the mode in which it was found: what
is trained afterwards is what would have been trained without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from ftjobs.backends.local.answers.rows import layers_of
from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.guards import is_no_memory

TOKENS = 8192
"""Prompts and answers that are in the cache at once, in tokens, padding included."""


class Writes(Protocol):
    """What a family of models owes to be asked while it is trained."""

    def write(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[str]:
        """The likeliest answer to each prompt (token ids), of at most so many tokens each."""
        ...


class Greedy:
    """`Writes` for decoders.  `stops` are the token ids that end an answer."""

    def __init__(self, model: Any, tokenizer: Any, stops: frozenset[int]) -> None:
        self.model, self.tokenizer, self.stops = model, tokenizer, stops
        # Without padding, a model that keeps a running state is asked as any other.
        self.together = bool(layers_of(model.config))

    def write(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[str]:
        """See `Writes`.  Where memory runs out, it begins again with half as many at once."""
        sizes = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
        groups = batches.micro_batches(sizes, budget=TOKENS if self.together else 1)
        texts = [""] * len(prompts)
        with _evaluating(self.model), torch.no_grad():
            for group in groups:
                for place, ids in zip(group, self._ids(prompts, limits, group), strict=True):
                    texts[place] = self.tokenizer.decode(ids, skip_special_tokens=True)
        return texts

    def _ids(
        self, prompts: Sequence[Sequence[int]], limits: Sequence[int], group: Sequence[int]
    ) -> list[list[int]]:
        try:
            return self._together([prompts[i] for i in group], [limits[i] for i in group])
        except (RuntimeError, MemoryError) as error:
            if len(group) == 1 or not is_no_memory(error):
                raise
        half = len(group) // 2
        return self._ids(prompts, limits, group[:half]) + self._ids(prompts, limits, group[half:])

    def _together(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> list[list[int]]:
        """The tokens of each answer without the one that ends it."""
        cache = DynamicCache(config=self.model.config)
        written: list[list[int]] = [[] for _ in prompts]
        rows, (ids, mask) = list(range(len(prompts))), _left_padded(prompts)
        while rows:
            tokens = self._next(ids, mask, cache)
            going = []
            for position, (row, token) in enumerate(zip(rows, tokens, strict=True)):
                if token not in self.stops:
                    written[row].append(token)
                    if len(written[row]) < limits[row]:
                        going.append(position)
            if 0 < len(going) < len(rows):
                cache.batch_select_indices(torch.tensor(going, device=self.model.device))
            rows = [rows[position] for position in going]
            ids = torch.tensor([[tokens[position]] for position in going])
            mask = torch.cat((mask[going], torch.ones(len(going), 1, dtype=torch.bool)), dim=1)
        return written

    def _next(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any) -> list[int]:
        """The likeliest next tokens.  `ids` are new; `mask` covers the cache and them."""
        device = self.model.device
        rest: dict[str, torch.Tensor] = {}
        if not mask.all():
            positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            rest = {"attention_mask": mask.to(device), "position_ids": positions.to(device)}
        output = self.model(
            input_ids=ids.to(device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            **rest,
        )
        likeliest: list[int] = output.logits[:, -1].argmax(dim=-1).tolist()
        return likeliest


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and whether they are real, both of shape (prompts, longest)."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    first = longest - torch.tensor([len(prompt) for prompt in prompts])
    return ids, torch.arange(longest) >= first[:, None]
