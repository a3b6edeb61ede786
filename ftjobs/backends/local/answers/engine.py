"""Chat answers from a base model and the adapters trained on it.

One copy of each base is kept in memory, with its adapters beside it; they are not merged, so that
an answer is computed exactly as in training.  Temperature 0 is deterministic.  Several answers
may be streamed at once, from one thread or many, and beside batches: the model is locked for one
step at a time.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ftjobs.backends.local.answers.beams import Beams
from ftjobs.backends.local.answers.draw import Draw, Shaping, draws
from ftjobs.backends.local.answers.guide import Guide
from ftjobs.backends.local.answers.mixing import Mixer, mix
from ftjobs.backends.local.answers.rows import layers_of
from ftjobs.backends.local.answers.vocabulary import Vocabulary
from ftjobs.backends.local.answers.writer import Step, Writer, at_once, in_steps, written_text
from ftjobs.backends.local.checkpoints import verify
from ftjobs.backends.local.families import context_length, vocabulary
from ftjobs.backends.local.heads import family_of
from ftjobs.backends.local.models import load_model, load_tokenizer, quietly, stop_ids
from ftjobs.backends.local.training.pairs import renderer_for
from ftjobs.backends.local.training.render import Renderer
from ftjobs.errors import InvalidRequestError, ModelError
from ftjobs.schema import Delta, Sampling, Usage

MAX_ADAPTERS = 8
"""Adapters kept in memory per base; the one unused for longest goes first."""
_BASE = ""


@dataclass(frozen=True)
class Question:
    """A request that can be answered: its prompt in tokens, and at most `limit` tokens to come.

    `before` are the tokens that the answer follows in the decoder, where these are not the prompt:
    those that a repetition penalty counts.  `vocabulary` is there if tokens are to be named, and
    `guide` if the answer has a form.
    """

    renderer: Renderer
    prompt: list[int]
    limit: int
    sampling: Sampling
    adapter: Path | None
    before: tuple[int, ...] | None = None
    vocabulary: Vocabulary | None = None
    guide: Guide | None = None

    def writers(self, *, whole: bool = False) -> list[Writer]:
        """One for each of the n answers."""
        tokenizer, stops = self.renderer.tokenizer, self.renderer.stops
        return [
            Writer(index, tokenizer, stops, self.sampling.stop, whole, self.vocabulary)
            for index in range(self.sampling.n)
        ]

    def draws(self) -> list[Draw]:
        """One for each of the n answers."""
        return draws(self.sampling, self._before(), self.renderer.stops, self.guide)

    def beams(self) -> Beams:
        """The search that its sampling asks for."""
        return Beams(
            self.sampling.beams,
            limit=self.limit,
            stops=self.renderer.stops,
            shaping=Shaping(self.sampling, self._before(), self.renderer.stops),
            ends=self._has_stop_text,
        )

    def _before(self) -> Sequence[int]:
        return self.prompt if self.before is None else self.before

    def _has_stop_text(self, tokens: Sequence[int]) -> bool:
        if not self.sampling.stop:
            return False
        text = written_text(self.renderer.tokenizer, tokens)
        return any(stop in text for stop in self.sampling.stop)

    def usage(self, writers: Sequence[Writer]) -> Usage:
        """The tokens read once and those written in all answers."""
        read, written = len(self.prompt), sum(writer.read for writer in writers)
        return Usage(prompt_tokens=read, completion_tokens=written, total_tokens=read + written)


class Engine:
    """A base model in memory that answers with any of its adapters."""

    def __init__(self, folder: Path, *, dtype: str, device: str) -> None:
        self.folder, self.device = folder, device
        self.model = load_model(folder, dtype=dtype, device=device)
        self.context_length = context_length(folder)
        self.layers = layers_of(self.model.config)
        self._renderers: dict[Path, Renderer] = {}
        self._vocabularies: dict[Path, Vocabulary] = {}
        self._adapters: dict[Path, str] = {}
        self._users: Counter[str] = Counter()
        self._mixer = Mixer()
        self._lock = threading.Lock()

    def question(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling,
        *,
        adapter: Path | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Question:
        """A request, checked and rendered.

        Raises:
            InvalidRequestError: the prompt leaves no room for an answer.
            ValueError: the prompt cannot be rendered, or there is no answer of the form that is
                asked for.
        """
        renderer = self.renderer(adapter)
        prompt = renderer.prompt(messages, list(tools) or None)
        room = self.context_length - len(prompt)
        if room < 1:
            raise InvalidRequestError(
                f"the prompt has {len(prompt):,} tokens and the model takes "
                f"{self.context_length:,}",
                code="context_length_exceeded",
                param="messages",
            )
        limit = min(room, sampling.max_tokens or room)
        return self._asked(renderer, prompt, limit, sampling, adapter)

    def _asked(
        self,
        renderer: Renderer,
        prompt: list[int],
        limit: int,
        sampling: Sampling,
        adapter: Path | None,
        *,
        before: tuple[int, ...] | None = None,
    ) -> Question:
        form, vocabulary, guide = sampling.response_format, None, None
        if sampling.logprobs or form:
            vocabulary = self._vocabularies.setdefault(
                adapter or self.folder, Vocabulary(renderer.tokenizer, renderer.stops)
            )
        if vocabulary and form:
            guide = vocabulary.guide(form)
        return Question(renderer, prompt, limit, sampling, adapter, before, vocabulary, guide)

    def joins(self, question: Question) -> bool:
        """Whether the answers may be written in one batch with those to other questions."""
        return bool(self.layers) and question.sampling.beams == 1

    def stream(
        self,
        messages: list[dict[str, Any]],
        sampling: Sampling,
        *,
        adapter: Path | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Iterator[Delta]:
        """The answers piece by piece; the last delta carries the usage.

        Raises:
            ValueError: as `question`.
            ModelError: the adapter is damaged or gone.
        """
        yield from self.say(self.question(messages, sampling, adapter=adapter, tools=tools))

    def say(self, question: Question, *, whole: bool = False) -> Iterator[Delta]:
        """As `stream`, of a request that is rendered already; with `whole`, each in one piece."""
        return self.answer(question, question.writers(whole=whole))

    def answer(self, question: Question, writers: Sequence[Writer]) -> Iterator[Delta]:
        """As `say`, with the writers of the answers."""
        last: Delta | None = None
        with self.using(question.adapter) as name:
            for delta in self._deltas(question, writers, name):
                if last:
                    yield last
                last = delta
        if last:
            yield last.model_copy(update={"usage": question.usage(writers)})

    def _deltas(self, question: Question, writers: Sequence[Writer], name: str) -> Iterator[Delta]:
        if question.sampling.beams == 1:
            return in_steps(writers, self._tokens(question, name))
        return at_once(writers, self._searched(question, name))

    def _searched(self, question: Question, name: str) -> list[tuple[int, ...]]:
        """The tokens of the n best answers that a beam search finds."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        found = question.beams().search(
            question.prompt,
            lambda ids: self.forward(ids, cache, [name] * len(ids))[:, -1],
            cache,
        )
        return [answer.tokens for answer in found[: question.sampling.n]]

    def _tokens(self, question: Question, name: str) -> Iterator[Step]:
        """The next token of each of the n answers, up to the limit."""
        from transformers import DynamicCache

        sampling = question.sampling
        drawn = question.draws()
        cache = DynamicCache(config=self.model.config)
        ids = [question.prompt]
        for step in range(question.limit):
            logits = self.forward(torch.tensor(ids), cache, [name] * len(ids))[:, -1]
            if step == 0 and sampling.n > 1:  # the prompt was read once, for all answers
                cache.batch_repeat_interleave(sampling.n)
                logits = logits.repeat_interleave(sampling.n, dim=0)
            tokens = [
                draw.next(row) for draw, row in zip(drawn, torch.split(logits, 1), strict=True)
            ]
            yield [(token, draw.scored) for token, draw in zip(tokens, drawn, strict=True)]
            ids = [[token] for token in tokens]

    # --- the model, one step at a time -------------------------------------------------------

    def forward(
        self, ids: torch.Tensor, cache: Any, names: Sequence[str], *, keep: int = 1, **rest: Any
    ) -> torch.Tensor:
        """Read tokens, shape (rows, columns), into the cache.  `names` are the rows' adapters.

        Returns logits, float32, of the last `keep` columns: shape (rows, keep, vocabulary).
        """
        columns = torch.arange(ids.shape[1] - keep, ids.shape[1], device=self.device)
        with self._lock, torch.inference_mode(), self._mixer.mixed(mix(names, self.device)):
            output = self.model(
                input_ids=ids.to(self.device),
                past_key_values=cache,
                use_cache=True,
                # As numbers: a slice would be no contiguous matrix, for which torch copies the
                # whole head once per row.
                logits_to_keep=columns,
                **rest,
            )
            logits: torch.Tensor = output.logits.float()
            return logits

    # --- adapters ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def using(self, adapter: Path | None) -> Iterator[str]:
        """The adapter's name in memory, where it stays until the end of the block.

        Raises:
            ModelError: it is damaged or gone.
        """
        name = self.hold(adapter)
        try:
            yield name
        finally:
            self.release(name)

    def hold(self, adapter: Path | None) -> str:
        """As `using`; to be followed by `release`."""
        with self._lock:
            name = self._load(adapter) if adapter else _BASE
            self._users[name] += 1
            return name

    def release(self, name: str) -> None:
        """The adapter may be forgotten when another needs its place."""
        with self._lock:
            self._users[name] -= 1

    def _load(self, folder: Path) -> str:
        from peft import PeftModel

        if folder in self._adapters:
            self._adapters[folder] = self._adapters.pop(folder)  # now the most recently used
            return self._adapters[folder]
        if verify(folder) is None:
            raise ModelError(f"the checkpoint {folder.name} is damaged or gone")
        name = f"adapter-{secrets.token_hex(4)}"
        try:
            with quietly():
                if not isinstance(self.model, PeftModel):
                    self.model = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
                else:
                    self.model.load_adapter(folder, adapter_name=name)
        except (RuntimeError, ValueError, KeyError) as error:  # the base is another one now
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"{folder.name} does not fit {self.folder.name}: {reason}") from None
        self.model.eval()
        self._mixer.attach(self.model)
        self._adapters[folder] = name
        self._forget_idle(folder)
        return name

    def _forget_idle(self, keep: Path) -> None:
        idle = [old for old, used in self._adapters.items() if not self._users[used]]
        for old in idle[: max(0, len(self._adapters) - MAX_ADAPTERS)]:
            if old != keep:
                with quietly():  # it warns if this was the active one, which none is here
                    self.model.delete_adapter(self._adapters.pop(old))

    def renderer(self, adapter: Path | None) -> Renderer:
        """The tokenizer and template that were saved with the adapter, not the base's of today."""
        folder = adapter or self.folder
        with self._lock:
            if folder not in self._renderers:
                tokenizer = load_tokenizer(folder)
                stops = stop_ids(tokenizer, self.folder)
                kind = family_of(self.model)
                self._renderers[folder] = renderer_for(
                    kind, tokenizer, stops, self.context_length, vocabulary=vocabulary(self.folder)
                )
            return self._renderers[folder]
