"""How well a model foresees an answer: cross-entropy with the truth before it at every token.

The tokens and the mask are those of training, so the numbers are those of its validation loss.
Rows end together; their answers are the last columns, so the head is computed there alone, a few
columns at a time: its memory depends neither on the length of the text nor on the vocabulary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.nn import functional

from ftjobs.backends.base import Likelihood
from ftjobs.backends.local.answers.batch import READ_TOKENS
from ftjobs.backends.local.answers.draw import NO_NUMBERS
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.answers.feed import feed
from ftjobs.backends.local.answers.rows import RowCache
from ftjobs.backends.local.training.batches import micro_batches
from ftjobs.backends.local.training.render import Tokens
from ftjobs.errors import TrainingError
from ftjobs.schema import ChatMessage, Example

HEAD_NUMBERS = 2**24
"""Logits computed at once: 64 MiB in float32."""
TOGETHER = 256
"""Conversations that are rendered and sorted by length before they are computed."""


def likelihoods(
    engine: Engine, adapter: Path | None, conversations: Sequence[Sequence[ChatMessage]]
) -> Iterator[Likelihood | ValueError]:
    """For each conversation, in order, its likelihood, or why there is none.

    Raises:
        ModelError: the adapter is damaged or gone.
    """
    with engine.using(adapter) as name:
        for start in range(0, len(conversations), TOGETHER):
            yield from _in_order(engine, adapter, name, conversations[start : start + TOGETHER])


def _in_order(
    engine: Engine,
    adapter: Path | None,
    name: str,
    conversations: Sequence[Sequence[ChatMessage]],
) -> list[Likelihood | ValueError]:
    found: dict[int, Likelihood | ValueError] = {}
    rows: dict[int, Tokens] = {}
    for number, messages in enumerate(conversations):
        try:
            rows[number] = tokens_of(engine, adapter, messages)
        except ValueError as error:
            found[number] = error
    numbers = list(rows)
    for position, likelihood in foresee(engine, name, list(rows.values())):
        finite = math.isfinite(likelihood.loss)
        found[numbers[position]] = likelihood if finite else ValueError(NO_NUMBERS)
    return [found[number] for number in range(len(conversations))]


def tokens_of(engine: Engine, adapter: Path | None, messages: Sequence[ChatMessage]) -> Tokens:
    """A conversation as in training, cut after its last turn, the only one that counts.

    Raises:
        ValueError: it does not end with the assistant, or cannot be rendered.
    """
    if not messages or messages[-1].role != "assistant":
        raise ValueError("the conversation does not end with an answer of the assistant")
    turns = [message.model_copy(update={"weight": None}) for message in messages]
    for turn, message in enumerate(turns[:-1]):
        if message.role == "assistant":
            turns[turn] = message.model_copy(update={"weight": 0})
    try:
        whole = engine.renderer(adapter).example(Example(messages=tuple(turns)))
    except TrainingError as error:
        raise ValueError(error.message) from None
    end = len(whole.ids) - whole.supervised[::-1].index(True)
    return Tokens(whole.ids[:end], whole.supervised[:end])


def foresee(
    engine: Engine, name: str, rows: Sequence[Tokens], *, budget: int = READ_TOKENS
) -> Iterator[tuple[int, Likelihood]]:
    """The position of each row with its likelihood under the adapter `name`, longest first.

    `budget` bounds the tokens, with padding, that are computed together.
    """
    alone = 0 if not engine.layers else budget
    for group in micro_batches([len(row.ids) for row in rows], budget=alone):
        yield from zip(group, _foresee(engine, name, [rows[row] for row in group]), strict=True)


def _foresee(engine: Engine, name: str, rows: Sequence[Tokens]) -> list[Likelihood]:
    targets = [row.targets for row in rows]
    sums, hits = (
        torch.zeros(len(rows), dtype=torch.float64),
        torch.zeros(len(rows), dtype=torch.long),
    )
    columns = _columns if engine.layers else _at_once
    for logits, labels in columns(engine, name, rows):
        flat = labels.flatten()
        losses = functional.cross_entropy(logits.flatten(0, 1), flat, reduction="none")
        sums += losses.view_as(labels).sum(dim=1).cpu()
        hits += (logits.argmax(dim=-1) == labels).sum(dim=1).cpu()
    return [
        Likelihood(loss=loss, tokens=tokens, correct=correct)
        for loss, tokens, correct in zip(sums.tolist(), targets, hits.tolist(), strict=True)
    ]


def _columns(
    engine: Engine, name: str, rows: Sequence[Tokens]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Logits and labels (-100 where there is none) of a few columns at a time."""
    inputs = [row.ids[:-1] for row in rows]
    lacks = _lacks(inputs)
    width, most = len(inputs[0]) + lacks[0], max(row.targets for row in rows)
    cache = RowCache(engine.layers, len(rows))
    vocabulary = engine.model.config.get_text_config().vocab_size
    answer = max(1, HEAD_NUMBERS // (vocabulary * len(rows)))
    cuts = [*range(0, width - most, READ_TOKENS), *range(width - most, width, answer), width]
    for start, end in itertools.pairwise(cuts):
        parts = [
            row[max(0, start - lack) : max(0, end - lack)]
            for row, lack in zip(inputs, lacks, strict=True)
        ]
        lengths = [max(0, end - lack) for lack in lacks]
        counts = start >= width - most
        keep = end - start if counts else 1
        logits = feed(engine, cache, parts, lengths, [name] * len(rows), keep=keep)
        if counts:
            yield logits, _labels(rows, lacks, start, end, engine.device)


def _at_once(
    engine: Engine, name: str, rows: Sequence[Tokens]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """As `_columns`, for a single row of a model whose rows cannot be filled up."""
    from transformers import DynamicCache

    (row,) = rows
    width, targets = len(row.ids) - 1, row.targets
    cache = DynamicCache(config=engine.model.config)
    logits = engine.forward(torch.tensor([row.ids[:-1]]), cache, [name], keep=targets)
    yield logits, _labels(rows, [0], width - targets, width, engine.device)


def _lacks(inputs: Sequence[Sequence[int]]) -> list[int]:
    """How many columns each row lacks on its left."""
    width = max(len(row) for row in inputs)
    return [width - len(row) for row in inputs]


def _labels(
    rows: Sequence[Tokens], lacks: Sequence[int], start: int, end: int, device: str
) -> torch.Tensor:
    """What the columns from `start` to `end` predict: the supervised token that comes next."""
    labels = torch.full((len(rows), end - start), -100)
    for row, (tokens, lack) in enumerate(zip(rows, lacks, strict=True)):
        first = max(start, lack + len(tokens.ids) - 1 - tokens.targets)
        labels[row, first - start :] = torch.tensor(tokens.ids[first - lack + 1 : end - lack + 1])
    return labels.to(device)
