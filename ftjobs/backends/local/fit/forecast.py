"""What a job needs of this machine: the parts put together."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from ftjobs.backends.base import FULL, Fit
from ftjobs.backends.local import models, worker
from ftjobs.backends.local.fit import machine, memory, speed
from ftjobs.backends.local.fit.machine import Room
from ftjobs.backends.local.fit.memory import Load, Memory
from ftjobs.backends.local.fit.probe import probed
from ftjobs.backends.local.fit.shape import read_shape
from ftjobs.backends.local.store import Store
from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.recipe import Facts, Machine, Recipe, resolve
from ftjobs.config import Settings
from ftjobs.data.stats import Statistics
from ftjobs.schema import JobSpec


@dataclass(frozen=True)
class Texts:
    """What an epoch reads, in tokens; `longest` and `longest_answer` are of one example."""

    examples: int
    tokens: int
    longest: int
    answers: int
    longest_answer: int

    def part(self, share: float) -> Texts:
        """So much of it, at least one example."""
        count = max(1, round(self.examples * share))
        share = count / max(1, self.examples)
        return replace(
            self,
            examples=count,
            tokens=round(self.tokens * share),
            answers=round(self.answers * share),
        )

    def load(self, together: int, recipe: Recipe, *, all_learned: bool = False) -> Load:
        """The most that is computed at once where `together` examples may be."""
        tokens = min(recipe.micro_batch_tokens, min(together, self.examples) * self.longest)
        tokens = max(self.longest, tokens)
        share = 1.0 if all_learned else self.answers / max(1, self.tokens)
        return Load(
            tokens, self.longest, min(tokens, max(self.longest_answer, int(tokens * share)))
        )


def texts(found: Statistics, method: str) -> Texts:
    """What training reads of a file.

    The statistics count a preference's prompt once; training reads it with either output.
    """
    if found.tokens is None or found.answer_tokens is None:
        return Texts(found.rows, 0, 0, 0, 0)
    tokens, longest = found.tokens.total, found.tokens.maximum
    answers = found.answer_tokens
    if method == "dpo":
        tokens = 2 * tokens - answers.total
        longest = 2 * longest - answers.minimum
    return Texts(found.examples, tokens, longest, answers.total, answers.maximum)


def foretell(
    settings: Settings,
    store: Store,
    spec: JobSpec,
    train: Statistics,
    valid: Statistics | None = None,
) -> Fit | None:
    """See `base.Foretells`.  None where the base model is not on this machine yet.

    Raises:
        ModelError: the base model's files cannot be read.
        TrainingError: the settings leave no step to take.
        StoreError: the store cannot be read.
    """
    if not models.is_name(spec.model) or not models.is_ready(spec.model, settings.cache):
        return None
    return _Forecast(settings, store, spec, train, valid).fit()


class _Forecast:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        spec: JobSpec,
        train: Statistics,
        valid: Statistics | None,
    ) -> None:
        self.settings, self.store, self.spec = settings, store, spec
        self.shape = read_shape(models.prepare(spec.model, settings.cache).folder)
        self.probe = probed(settings.cache)
        self.train, self.valid = _parts(spec, train, valid)
        self.recipe = self._recipe()

    def fit(self) -> Fit:
        need, here = self._memory(self.recipe), self._room()
        pace = self._speed()
        short = here is not None and need.total > FULL * here.free
        return Fit(
            device=self._device(),
            dtype=self.recipe.dtype,
            bytes=need.total,
            parts=asdict(need),
            free_bytes=here and here.free,
            total_bytes=here and here.total,
            longest=self.train.longest,
            tokens_at_once=self._load(self.recipe).tokens,
            tokens=self.train.tokens * self.recipe.n_epochs,
            tokens_per_second=round(pace.rate, 1) if pace else None,
            source=pace.source if pace else "",
            seconds=round(self._seconds(pace)) if pace else None,
            advice=tuple(self._advice(here)) if here and short else (),
        )

    # --- the job -----------------------------------------------------------------------------

    def _recipe(self) -> Recipe:
        asked = self.spec.hyperparameters
        device = self.probe.device if self.probe else "cuda" if machine.has_nvidia() else "cpu"
        usual = self.probe.dtype if self.probe else machine.usual_dtype(machine.processor()[1])
        layers = self.shape.adapted(asked.lora_target_modules or ())
        facts = Facts(
            examples=self.train.examples,
            targets=self.train.answers,
            hidden_size=self.shape.hidden,
            family=self.shape.kind,
            adapter_parameters_per_rank=sum(x.inputs + x.outputs for x in layers),
        )
        here = Machine(asked.given().get("dtype", usual), device, machine.cores())
        return resolve(asked, facts, here, seed=0, method=self.spec.method)

    def _load(self, recipe: Recipe, longest: int | None = None) -> Load:
        train = self.train
        if longest is not None:
            train = replace(train, longest=longest)
        learned = bool(self.spec.hyperparameters.train_on_inputs)
        return train.load(recipe.examples_per_step, recipe, all_learned=learned)

    def _memory(self, recipe: Recipe, longest: int | None = None) -> Memory:
        """In all processes: each holds the whole model."""
        valid = self.valid.load(self.valid.examples, recipe) if self.valid else None
        need = memory.needed(self.shape, recipe, self._load(recipe, longest), valid)
        processes = self.settings.processes
        if recipe.device == "cuda" or processes == "auto":
            return need
        return Memory(**{name: size * processes for name, size in asdict(need).items()})

    # --- the machine -------------------------------------------------------------------------

    def _device(self) -> str:
        if self.probe and self.probe.device == "cuda":
            return self.probe.name
        return _many(machine.cores(), "core")

    def _room(self) -> Room | None:
        if self.recipe.device == "cuda":
            return Room(self.probe.memory, self.probe.memory) if self.probe else None
        return room(self.store)

    def _speed(self) -> speed.Speed | None:
        folder = (
            None if self.spec.model == models.DEFAULT_MODEL else models.as_folder(self.spec.model)
        )
        name = str(folder) if folder else self.spec.model  # as jobs keep it
        known = speed.earlier(self.store, name, self.recipe)
        if known or self.probe is None:
            return known
        return speed.computed(self.shape, self.recipe, self.probe)

    def _seconds(self, pace: speed.Speed) -> float:
        train, held = self.train.tokens, self.valid
        if not held or not held.examples:
            return speed.seconds(self.recipe, pace, train)
        few = held.tokens * min(1.0, self.recipe.validation_examples / held.examples)
        return speed.seconds(self.recipe, pace, train, held.tokens, few)

    # --- what would help ---------------------------------------------------------------------

    def _advice(self, here: Room) -> Iterator[str]:
        """Changes each of which alone would make the job fit, the least costly first."""
        limit, recipe = FULL * here.free, self.recipe
        changes: dict[str, dict[str, Any]] = {
            "gradient_checkpointing true": {"gradient_checkpointing": True},
            "dtype bfloat16": {"dtype": "bfloat16"} if recipe.dtype == "float32" else {},
            "lora_r 8": {"lora_r": 8} if recipe.lora_r > 8 else {},
            "dtype int4": {"dtype": "int4"} if recipe.device == "cuda" else {},
        }
        for name, change in changes.items():
            if change and self._memory(replace(recipe, **change)).total <= limit:
                yield name
        if longest := self._longest_that_fits(limit):
            have = f"the longest has {self.train.longest:,}"
            yield f"no example of more than {longest:,} tokens ({have})"

    def _longest_that_fits(self, limit: float) -> int:
        """Tokens, by bisection; 0 if it is not the longest example that needs the memory."""
        low, high = 0, self.train.longest
        if high <= self.recipe.micro_batch_tokens:
            return 0  # shorter ones would only come more at once
        while high - low > 1:
            middle = (low + high) // 2
            if self._memory(self.recipe, middle).total <= limit:
                low = middle
            else:
                high = middle
        return low if low >= self.recipe.micro_batch_tokens else 0


def room(store: Store) -> Room | None:
    """Memory for the next job: what is free, and what the worker holds, which runs one at a time.

    Raises:
        StoreError: the store cannot be read.
    """
    here, running = machine.room(), store.worker()
    if here is None or running is None or running.host != socket.gethostname():
        return here
    alive = time.time() - running.heartbeat_at < 3 * worker.HEARTBEAT
    held = machine.resident(running.pid) if alive else 0
    return Room(min(here.total, here.free + held), here.total)


def _parts(
    spec: JobSpec, train: Statistics, valid: Statistics | None
) -> tuple[Texts, Texts | None]:
    """What is trained and what is validated, after `validation_split`."""
    whole = texts(train, spec.method)
    if valid is not None:
        return whole, texts(valid, spec.method)
    share = spec.hyperparameters.validation_split
    if not share or whole.examples < 2:
        return whole, None
    _, held = batches.split(whole.examples, fraction=share, seed=0)
    return whole.part(1 - len(held) / whole.examples), whole.part(len(held) / whole.examples)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
