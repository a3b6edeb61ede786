"""Answers from encoder-decoders (T5, BART): the encoder reads a prompt once, the decoder writes.

Requests are answered in batches of a fixed set of rows, from which a row leaves when its answer
has ended.  Base and adapters stand side by side in them, as with decoders.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from ftjobs.backends.base import Likelihood
from ftjobs.backends.local.answers.asked import Asked, Row, queue
from ftjobs.backends.local.answers.batch import MAX_ROWS, READ_TOKENS, Found
from ftjobs.backends.local.answers.draw import NO_NUMBERS
from ftjobs.backends.local.answers.engine import MAX_ADAPTERS, Engine, Question
from ftjobs.backends.local.answers.likelihood import tokens_of
from ftjobs.backends.local.answers.mixing import mix
from ftjobs.backends.local.answers.writer import Step
from ftjobs.backends.local.training.batches import micro_batches
from ftjobs.backends.local.training.encoder_decoder import EncoderDecoder, start_token
from ftjobs.backends.local.training.padding import padded
from ftjobs.backends.local.training.render import Tokens
from ftjobs.errors import ModelError
from ftjobs.schema import ChatMessage, Sampling

LONGEST = 512
"""Tokens of an answer unless the request says how many: T5's positions have no end."""


class Seq2Seq(Engine):
    """An encoder-decoder in memory that answers with any of its adapters."""

    def question(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling,
        *,
        adapter: Path | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Question:
        """See `Engine`.  The answer's length does not depend on the prompt's."""
        renderer = self.renderer(adapter)
        prompt = renderer.prompt(messages, list(tools) or None)
        limit = min(self.context_length, sampling.max_tokens or LONGEST)
        before = (start_token(self.model),)
        return self._asked(renderer, prompt, limit, sampling, adapter, before=before)

    def joins(self, _question: Question) -> bool:
        """See `Engine`: its batches take no row that comes later."""
        return False

    def answers(self, questions: Sequence[tuple[int, Question]]) -> Iterator[Found]:
        """The numbers of questions with their answers, or the error that one has met alone.

        Those that are searched with beams come last, one after another.
        """
        rows = deque(queue([each for each in questions if each[1].sampling.beams == 1]))
        while rows:
            yield from self._answer_together(_next_group(rows))
        for number, question in questions:
            if question.sampling.beams > 1:
                yield number, self._alone(Asked(number, question))

    def likelihoods(
        self, adapter: Path | None, conversations: Sequence[Sequence[ChatMessage]]
    ) -> Iterator[Likelihood | ValueError]:
        """For each conversation, in order, how its last turn is foreseen, or why it is not.

        Raises:
            ModelError: the adapter is damaged or gone.
        """
        with self.using(adapter) as name:
            found: dict[int, Likelihood | ValueError] = {}
            rows: dict[int, Tokens] = {}
            for number, messages in enumerate(conversations):
                try:
                    rows[number] = tokens_of(self, adapter, messages)
                except ValueError as error:
                    found[number] = error
            numbers, tokens = list(rows), list(rows.values())
            for group in micro_batches([each.size for each in tokens], budget=READ_TOKENS):
                foreseen = self._foresee([tokens[place] for place in group], name)
                found |= {numbers[p]: each for p, each in zip(group, foreseen, strict=True)}
        yield from (found[number] for number in range(len(conversations)))

    def _foresee(self, rows: Sequence[Tokens], name: str) -> list[Likelihood | ValueError]:
        with self.computing([name] * len(rows)):
            scores = EncoderDecoder(self.model).score(rows)
        sizes = [row.targets for row in rows]
        losses = torch.split(-scores.logprobs.double().cpu(), sizes)
        hits = torch.split(scores.hits.cpu(), sizes)
        return [
            Likelihood(loss=float(loss.sum()), tokens=size, correct=int(hit.sum()))
            if math.isfinite(float(loss.sum()))
            else ValueError(NO_NUMBERS)
            for loss, hit, size in zip(losses, hits, sizes, strict=True)
        ]

    @contextlib.contextmanager
    def computing(self, names: Sequence[str]) -> Iterator[None]:
        """The model for one step, each row with its own adapter."""
        with self._lock, torch.inference_mode(), self._mixer.mixed(mix(names, self.device)):
            yield

    # --- one request -------------------------------------------------------------------------

    def _tokens(self, question: Question, name: str) -> Iterator[Step]:
        """See `Engine`."""
        drawn = question.draws()
        decoding = Decoding(self, [question.prompt] * len(drawn), [name] * len(drawn))
        ids = [[decoding.start]] * len(drawn)
        for _ in range(question.limit):
            logits = torch.split(decoding.forward(torch.tensor(ids)), 1)
            tokens = [draw.next(row) for draw, row in zip(drawn, logits, strict=True)]
            yield [(token, draw.scored) for token, draw in zip(tokens, drawn, strict=True)]
            ids = [[token] for token in tokens]

    def _searched(self, question: Question, name: str) -> list[tuple[int, ...]]:
        """See `Engine`."""
        decoding = Decoding(self, [question.prompt], [name])
        found = question.beams().search([decoding.start], decoding.forward, decoding)
        return [answer.tokens for answer in found[: question.sampling.n]]

    def _alone(self, asked: Asked) -> Any:
        try:
            asked.say(self.answer(asked.question, asked.writers))
        except ValueError as error:  # ModelError is one
            return error
        return asked.answered()

    # --- many requests -----------------------------------------------------------------------

    def _answer_together(self, group: Sequence[Row]) -> Iterator[Found]:
        with contextlib.ExitStack() as held:
            rows = []
            for row in group:
                try:
                    row.name = held.enter_context(self.using(row.adapter))
                    rows.append(row)
                except ModelError as error:
                    yield from _failed(row, error)
            # Neighbours of one adapter are added to without a copy.
            rows = sorted((row for row in rows if not row.asked.failed), key=lambda row: row.name)
            if rows:
                yield from self._write(rows)

    def _write(self, rows: list[Row]) -> Iterator[Found]:
        decoding = Decoding(self, [row.ids for row in rows], [row.name for row in rows])
        last = [[decoding.start]] * len(rows)
        while rows:
            for row, logits in zip(
                rows, torch.split(decoding.forward(torch.tensor(last)), 1), strict=True
            ):
                yield from _take(row, logits)
            going = [
                place
                for place, row in enumerate(rows)
                if not (row.writer.finished or row.asked.failed)
            ]
            decoding.reorder_cache(torch.tensor(going, dtype=torch.long))
            rows = [rows[place] for place in going]
            last = [row.ids[-1:] for row in rows]


class Decoding:
    """Answers that are written beside each other: what their encoder has read, and their cache.

    Args:
        engine: the model.
        prompts: token ids of each row; equal ones are read once.
        names: the adapter of each row.
    """

    def __init__(
        self, engine: Seq2Seq, prompts: Sequence[Sequence[int]], names: Sequence[str]
    ) -> None:
        self.engine = engine
        self.start = start_token(engine.model)
        self.cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        places: dict[tuple[str, tuple[int, ...]], int] = {}
        picks = [
            places.setdefault((name, tuple(ids)), len(places))
            for name, ids in zip(names, prompts, strict=True)
        ]
        self.names: list[str] = []
        self._read(list(places))
        if picks != list(range(len(places))):
            self.reorder_cache(torch.tensor(picks))

    def _read(self, places: Sequence[tuple[str, Sequence[int]]]) -> None:
        self.names = [name for name, _ in places]
        ids, known = padded([ids for _, ids in places])
        device = self.engine.device
        self.known = known.to(device)
        with self.engine.computing(self.names):
            encoder = self.engine.model.get_encoder()
            output = encoder(input_ids=ids.to(device), attention_mask=self.known)
            self.states: torch.Tensor = output.last_hidden_state

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Read one token a row, shape (rows, 1) → the next one's logits, (rows, vocabulary)."""
        with self.engine.computing(self.names):
            output = self.engine.model(
                encoder_outputs=BaseModelOutput(last_hidden_state=self.states),
                attention_mask=self.known,
                decoder_input_ids=ids.to(self.engine.device),
                past_key_values=self.cache,
                use_cache=True,
            )
            logits: torch.Tensor = output.logits[:, -1].float()
            return logits

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Only the rows `beam_idx`, in this order, a row as often as it is named."""
        if len(beam_idx) == len(self.names) and bool((beam_idx.diff() == 1).all()):
            return
        chosen = beam_idx.to(self.engine.device)
        self.cache.reorder_cache(chosen)
        self.states, self.known = self.states[chosen], self.known[chosen]
        self.names = [self.names[place] for place in beam_idx.tolist()]


def _next_group(rows: deque[Row]) -> list[Row]:
    """The next rows that fit together, the longest prompts first."""
    group: list[Row] = []
    while rows and len(group) < MAX_ROWS:
        row = rows[0]
        longest = max([len(row.ids), *(len(each.ids) for each in group)])
        adapters = {each.adapter for each in [*group, row]} - {None}
        if group and (longest * (len(group) + 1) > 2 * READ_TOKENS or len(adapters) > MAX_ADAPTERS):
            break
        group.append(rows.popleft())
    return [row for row in group if not row.asked.failed]


def _take(row: Row, logits: torch.Tensor) -> Iterator[Found]:
    """Give a row its next token, from logits of shape (1, vocabulary)."""
    if row.asked.failed:
        return
    try:
        row.take(row.draw.next(logits))
    except ValueError as error:
        yield from _failed(row, error)
        return
    if row.asked.finished:
        yield row.asked.number, row.asked.answered()


def _failed(row: Row, error: Exception) -> Iterator[Found]:
    if not row.asked.failed:
        row.asked.failed = True
        yield row.asked.number, error
