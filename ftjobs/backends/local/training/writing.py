"""Answers from a model in the middle of its training, with the weights as they stand.

Nothing is loaded or copied.  The likeliest token is taken each time, so no random number is
drawn; no gradient is recorded, and the model is set back to the mode in which it was found: what
is trained afterwards is what would have been trained without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ftjobs.backends.local.answers.rows import layers_of
from ftjobs.backends.local.heads import family_of
from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.classifier import choose
from ftjobs.backends.local.training.encoder_decoder import start_token
from ftjobs.backends.local.training.guards import is_no_memory
from ftjobs.backends.local.training.padding import padded

TOKENS = 8192
"""Prompts and answers that are in memory at once, in tokens, padding included."""

Ids = Sequence[int]


class Writes(Protocol):
    """Whoever can be asked while a model is trained."""

    def write(self, prompts: Sequence[Ids], limits: Sequence[int]) -> list[str]:
        """The likeliest answer to each prompt (token ids), of at most so many tokens each."""
        ...


@dataclass(frozen=True)
class Letters:
    """How tokens become text: `stops` end an answer, `labels` are a classifier's answers."""

    tokenizer: Any
    stops: frozenset[int]
    labels: tuple[str, ...] = ()


class Greedy:
    """`Writes` for every family of models."""

    def __init__(self, model: Any, letters: Letters) -> None:
        self.model, self.letters, self.family = model, letters, family_of(model)
        # A model that keeps a running state, which padding would change, reads one at a time.
        together = self.family != "decoder" or layers_of(model.config)
        self.budget = TOKENS if together else 1

    def write(self, prompts: Sequence[Ids], limits: Sequence[int]) -> list[str]:
        """See `Writes`.  Where memory runs out, it begins again with half as many at once."""
        sizes = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
        texts = [""] * len(prompts)
        with _evaluating(self.model), torch.no_grad():
            for group in batches.micro_batches(sizes, budget=self.budget):
                for place, text in zip(group, self._texts(prompts, limits, group), strict=True):
                    texts[place] = text
        return texts

    def _texts(self, prompts: Sequence[Ids], limits: Sequence[int], group: Ids) -> list[str]:
        try:
            return self._together([prompts[i] for i in group], [limits[i] for i in group])
        except (RuntimeError, MemoryError) as error:
            if len(group) == 1 or not is_no_memory(error):
                raise
        halves = group[: len(group) // 2], group[len(group) // 2 :]
        return [text for half in halves for text in self._texts(prompts, limits, half)]

    def _together(self, prompts: Sequence[Ids], limits: Sequence[int]) -> list[str]:
        if self.family == "classifier":
            chosen = choose(self.model, prompts).argmax(dim=-1).tolist()
            return [self.letters.labels[number] for number in chosen]
        kind = _Decoder if self.family == "decoder" else _EncoderDecoder
        written = _write(kind(self.model, prompts), limits, self.letters.stops)
        return [self.letters.tokenizer.decode(ids, skip_special_tokens=True) for ids in written]


class _Rows(Protocol):
    """Answers under way; `start` is what is read first, shape (rows, columns)."""

    start: torch.Tensor

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """Read tokens, shape (rows, columns); logits of the next ones, shape (rows, vocabulary)."""

    def keep(self, going: torch.Tensor) -> None:
        """Go on with these rows only, in their order."""


def _write(reading: _Rows, limits: Sequence[int], stops: frozenset[int]) -> list[list[int]]:
    """The tokens of each answer without the one that ends it.  A row leaves when it has ended."""
    written: list[list[int]] = [[] for _ in limits]
    rows, ids = list(range(len(limits))), reading.start
    while rows:
        tokens = reading.read(ids).argmax(dim=-1).tolist()
        going = []
        for position, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if token not in stops:
                written[row].append(token)
                if len(written[row]) < limits[row]:
                    going.append(position)
        if 0 < len(going) < len(rows):
            reading.keep(torch.tensor(going))
        rows = [rows[position] for position in going]
        ids = torch.tensor([[tokens[position]] for position in going])
    return written


class _Decoder:
    """`_Rows` that end at the same column: prompts are filled up on the left."""

    def __init__(self, model: Any, prompts: Sequence[Ids]) -> None:
        self.model = model
        self.cache = DynamicCache(config=model.config)
        longest = max(len(prompt) for prompt in prompts)
        self.start = torch.tensor([[0] * (longest - len(ids)) + list(ids) for ids in prompts])
        self.first = longest - torch.tensor([len(prompt) for prompt in prompts])[:, None]

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """See `_Rows`."""
        columns = torch.arange(self.cache.get_seq_length() + ids.shape[1])
        device, mask = self.model.device, columns >= self.first
        places = (columns[-ids.shape[1] :] - self.first).clamp(min=0)
        # Without padding, the model knows both by itself.
        rest = {} if mask.all() else {"attention_mask": mask, "position_ids": places}
        output = self.model(
            input_ids=ids.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            **{name: tensor.to(device) for name, tensor in rest.items()},
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def keep(self, going: torch.Tensor) -> None:
        """See `_Rows`."""
        self.cache.batch_select_indices(going.to(self.model.device))
        self.first = self.first[going]


class _EncoderDecoder:
    """`_Rows` of T5 and its kin: the encoder reads the prompts once."""

    def __init__(self, model: Any, prompts: Sequence[Ids]) -> None:
        self.model = model
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.start = torch.full((len(prompts), 1), start_token(model))
        ids, known = padded(prompts)
        self.known = known.to(model.device)
        encoder = model.get_encoder()
        self.states = encoder(
            input_ids=ids.to(model.device), attention_mask=self.known
        ).last_hidden_state

    def read(self, ids: torch.Tensor) -> torch.Tensor:
        """See `_Rows`."""
        output = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
            attention_mask=self.known,
            decoder_input_ids=ids.to(self.model.device),
            past_key_values=self.cache,
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def keep(self, going: torch.Tensor) -> None:
        """See `_Rows`."""
        chosen = going.to(self.model.device)
        self.cache.batch_select_indices(chosen)
        self.states, self.known = self.states[chosen], self.known[chosen]


@contextlib.contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
