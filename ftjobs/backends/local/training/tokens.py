"""Tokens of local base models: those that a job would train on, from the same renderer."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import NamedTuple

from ftjobs.backends.local import models
from ftjobs.backends.local.training.pairs import renderer_for
from ftjobs.backends.local.training.recipe import Facts, Machine, resolve
from ftjobs.backends.local.training.render import Renderer
from ftjobs.data.tokens import Count, measure
from ftjobs.errors import ConfigError, ModelError
from ftjobs.schema import Example, Hyperparameters

AUTOMATIC = Hyperparameters()
_MASKS = ("train_on_inputs", "max_prompt_length", "max_completion_length")
"""Settings that decide which tokens are trained, and how many there may be."""


class Span(NamedTuple):
    """A stretch of rendered text, its tokens, whether they are trained, and beyond the context."""

    text: str
    tokens: int
    trained: bool
    beyond: bool


class LocalCounter:
    """Counts, and renders, as training with a local base model does.

    `context` is in tokens.  A job fails at a longer example: it cuts none.
    """

    exact = True
    refuses = True
    note = ""

    def __init__(self, name: str, renderer: Renderer, context: int) -> None:
        self.name = name
        self.context = context
        self._renderer = renderer

    def count(self, example: Example) -> Count:
        """The tokens of one example.  TrainingError if it cannot be rendered for certain."""
        trained = self._renderer.example(example).supervised
        runs = ((sum(1 for _ in run), mask) for mask, run in itertools.groupby(trained))
        return measure(runs, self.context)

    def spans(self, example: Example) -> list[Span]:
        """The rendered text in its order.  TrainingError if it cannot be rendered for certain."""
        tokens = self._renderer.example(example)
        places = range(len(tokens.ids))
        runs = itertools.groupby(
            places, key=lambda place: (tokens.supervised[place], place >= self.context)
        )
        return [self._span([tokens.ids[place] for place in run], *key) for key, run in runs]

    def _span(self, ids: list[int], trained: bool, beyond: bool) -> Span:
        text = self._renderer.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return Span(str(text), len(ids), trained, beyond)


def counter_for(model: str, cache: Path, settings: Hyperparameters = AUTOMATIC) -> LocalCounter:
    """The counter of a base model that is on this machine, for a job with these settings.

    Raises:
        ModelError: it is not, or its tokenizer cannot be used.
        ConfigError: transformers is not installed.
        TrainingError: its family cannot do what the settings ask.
    """
    try:
        ready = models.is_name(model) and models.is_ready(model, cache)
        if not ready:
            raise ModelError(
                f"the tokenizer of {model} is not on this machine",
                hint=f"Get it once: ftjobs models pull {model}",
            )
        base = models.prepare(model, cache)
        with models.quietly():
            tokenizer = models.load_tokenizer(base.folder, settings.chat_template)
    except ImportError as error:
        raise ConfigError(
            f"counting for {model} needs {error.name}", hint="pip install 'ftjobs[local]'"
        ) from None
    stops, given = models.stop_ids(tokenizer, base.folder), settings.given()
    masks = {name: given[name] for name in _MASKS if name in given}
    renderer = renderer_for(models.family(base.folder), tokenizer, stops, sys.maxsize, **masks)
    limit = models.context_length(base.folder)
    return LocalCounter(base.short, renderer, min(limit, settings.context_length or limit))


def auto_epochs(examples: int, settings: Hyperparameters = AUTOMATIC) -> int:
    """How many epochs a local job with these settings makes of so many examples, if it is not told.

    Those that `validation_split` holds out count as the others: it changes little.
    """
    facts = Facts(examples, 0, hidden_size=1, family="", adapter_parameters_per_rank=1)
    machine = Machine(dtype="float32", device="cpu", threads=1)
    asked = settings.model_copy(update={"drop_last_batch": None, "n_epochs": None})
    return resolve(asked, facts, machine, seed=0).n_epochs
