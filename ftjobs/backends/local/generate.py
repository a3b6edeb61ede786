"""Chat answers from a base model and the adapters trained on it.

One copy of each base is kept in memory, with its adapters beside it; they are not merged, so that
an answer is computed exactly as in training.  Temperature 0 is deterministic.  Several answers
may be streamed at once, from one thread or many: the model is locked for one token at a time.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ftjobs.backends.local.checkpoints import verify
from ftjobs.backends.local.models import load_model, load_tokenizer, quietly, stop_ids
from ftjobs.backends.local.render import Renderer
from ftjobs.errors import ModelError
from ftjobs.schema import Delta, Sampling, Usage

MAX_ADAPTERS = 8
"""Adapters kept in memory per base; the one unused for longest goes first."""
_BASE = ""
_UNKNOWN = "?"


class Engine:
    """A base model in memory that answers with any of its adapters."""

    def __init__(self, folder: Path, *, dtype: str, device: str) -> None:
        self.folder, self.device = folder, device
        self.model = load_model(folder, dtype=dtype, device=device)
        self.context_length = int(
            getattr(self.model.config, "max_position_embeddings", None) or 1 << 20
        )
        self._renderers: dict[Path, Renderer] = {}
        self._adapters: dict[Path, str] = {}
        self._users: Counter[str] = Counter()
        self._active = _BASE
        self._lock = threading.Lock()

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
            ValueError: the prompt cannot be rendered, or leaves no room for an answer.
        """
        renderer = self._renderer(adapter or self.folder)
        prompt = renderer.prompt(messages, list(tools) or None)
        room = self.context_length - len(prompt)
        if room < 1:
            raise ValueError(
                f"the prompt has {len(prompt):,} tokens and the model takes {self.context_length:,}"
            )
        limit = min(room, sampling.max_tokens or room)
        with self._lock:
            name = self._load(adapter) if adapter else _BASE
            self._users[name] += 1
        try:
            yield from self._answers(renderer, prompt, limit, sampling, name)
        finally:
            self._users[name] -= 1

    def _answers(
        self, renderer: Renderer, prompt: list[int], limit: int, sampling: Sampling, name: str
    ) -> Iterator[Delta]:
        writers = [
            Writer(index, renderer.tokenizer, renderer.stops, sampling.stop)
            for index in range(sampling.n)
        ]
        pieces = self._write(writers, self._tokens(prompt, limit, sampling, name))
        last: Delta | None = None
        for delta in pieces:
            if last:
                yield last
            last = delta
        written = sum(writer.read for writer in writers)
        total = len(prompt) + written
        usage = Usage(prompt_tokens=len(prompt), completion_tokens=written, total_tokens=total)
        if last:
            yield last.model_copy(update={"usage": usage})

    def _write(self, writers: list[Writer], rows: Iterator[list[int]]) -> Iterator[Delta]:
        for tokens in rows:
            for writer, token in zip(writers, tokens, strict=True):
                if not writer.finished:
                    yield from writer.write(token)
            if all(writer.finished for writer in writers):
                return
        for writer in writers:
            if not writer.finished:
                yield from writer.finish("length")

    def _tokens(
        self, prompt: list[int], limit: int, sampling: Sampling, adapter: str
    ) -> Iterator[list[int]]:
        """The next token of each of the n answers, up to `limit` times."""
        from transformers import DynamicCache

        generator = torch.Generator(self.device)
        generator.manual_seed(secrets.randbits(63) if sampling.seed is None else sampling.seed)
        cache = DynamicCache(config=self.model.config)
        ids = torch.tensor([prompt], device=self.device)
        counts: torch.Tensor | None = None
        for _ in range(limit):
            logits = self._forward(ids, cache, adapter)
            if counts is None:  # the prompt was read once, for all answers
                if sampling.n > 1:
                    cache.batch_repeat_interleave(sampling.n)
                    logits = logits.repeat_interleave(sampling.n, dim=0)
                counts = torch.zeros_like(logits)
            chosen = choose(logits, counts, sampling, generator)
            counts.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=counts.dtype))
            yield chosen.squeeze(1).tolist()
            ids = chosen

    def _forward(self, ids: torch.Tensor, cache: Any, adapter: str) -> torch.Tensor:
        with self._lock, torch.inference_mode():
            self._activate(adapter)
            output = self.model(
                input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            logits: torch.Tensor = output.logits[:, -1].float()
            return logits

    def _activate(self, adapter: str) -> None:
        if adapter == self._active:  # switching visits every layer, which takes as long as a token
            return
        if adapter == _BASE:
            self.model.base_model.disable_adapter_layers()
        else:
            self.model.base_model.enable_adapter_layers()
            self.model.set_adapter(adapter)
        self._active = adapter

    def _load(self, folder: Path) -> str:
        from peft import PeftModel

        if folder in self._adapters:
            self._adapters[folder] = self._adapters.pop(folder)  # now the most recently used
            return self._adapters[folder]
        if verify(folder) is None:
            raise ModelError(f"the checkpoint {folder.name} is damaged or gone")
        name = f"adapter-{secrets.token_hex(4)}"
        with quietly():
            if not isinstance(self.model, PeftModel):
                self.model = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
            else:
                self.model.load_adapter(folder, adapter_name=name)
        self.model.eval()
        self._adapters[folder] = name
        self._active = _UNKNOWN
        idle = [old for old, used in self._adapters.items() if not self._users[used]]
        for old in idle[: max(0, len(self._adapters) - MAX_ADAPTERS)]:
            if old != folder:
                self.model.delete_adapter(self._adapters.pop(old))
        return name

    def _renderer(self, folder: Path) -> Renderer:
        """The tokenizer and template that were saved with the adapter, not the base's of today."""
        with self._lock:
            if folder not in self._renderers:
                tokenizer = load_tokenizer(folder)
                stops = stop_ids(tokenizer, self.folder)
                self._renderers[folder] = Renderer(tokenizer, stops, self.context_length)
            return self._renderers[folder]


@dataclass
class Writer:
    """Turns the tokens of one answer into text, holding back what may yet change.

    Held back are bytes of an unfinished character, and a text that may become a stop text.
    """

    index: int
    tokenizer: Any
    stops: frozenset[int]
    stop_texts: Sequence[str]
    finished: bool = False
    ids: list[int] = field(default_factory=list)
    sent: int = 0
    read: int = 0

    def write(self, token: int) -> Iterator[Delta]:
        """Take one token; give what can be said now."""
        self.read += 1
        if token in self.stops:
            yield from self.finish("stop")
            return
        self.ids.append(token)
        text = self._text()
        found = [place for stop in self.stop_texts if (place := text.find(stop)) >= 0]
        if found:
            yield from self.finish("stop", end=min(found))
            return
        safe = len(text) - self._undecided(text)
        if safe > self.sent:
            yield Delta(index=self.index, content=text[self.sent : safe])
            self.sent = safe

    def finish(self, reason: str, end: int | None = None) -> Iterator[Delta]:
        """Give the rest, up to `end`, with the reason."""
        self.finished = True
        yield Delta(index=self.index, content=self._text()[self.sent : end], finish_reason=reason)

    def _text(self) -> str:
        return str(self.tokenizer.decode(self.ids, skip_special_tokens=True))

    def _undecided(self, text: str) -> int:
        """How many characters at the end may yet change."""
        whole = text.rstrip("\ufffd")
        longest = min(len(whole), max((len(stop) for stop in self.stop_texts), default=0) - 1)
        for size in range(longest, 0, -1):
            if any(stop.startswith(whole[-size:]) for stop in self.stop_texts):
                return len(text) - len(whole) + size
        return len(text) - len(whole)


def choose(
    logits: torch.Tensor, counts: torch.Tensor, sampling: Sampling, generator: torch.Generator
) -> torch.Tensor:
    """The next tokens, shape (n, 1), from logits of shape (n, vocabulary).

    `counts` says how often each answer has used each token: the wire's penalties subtract
    `frequency_penalty * count + presence_penalty * (count > 0)` from the logits.  `top_p` keeps
    the smallest set of tokens that has this probability (Holtzman et al. 2019).
    """
    if logits.isnan().any():
        raise ValueError("its weights give no numbers")
    logits = logits - counts * (sampling.frequency_penalty or 0.0)
    logits = logits - (counts > 0) * (sampling.presence_penalty or 0.0)
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)
    # In float64 with the maximum at 0, a tiny temperature cannot overflow.
    scaled = (logits.double() - logits.amax(-1, keepdim=True)) / temperature
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True)
        beyond = ordered.cumsum(dim=-1) - ordered >= sampling.top_p
        probabilities = torch.zeros_like(probabilities).scatter(
            1, places, ordered.masked_fill(beyond, 0.0)
        )
    return torch.multinomial(probabilities, 1, generator=generator)
