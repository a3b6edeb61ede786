"""Which counter of tokens a base model has here."""

from __future__ import annotations

from ftjobs.cli.app import App
from ftjobs.data.tokens import HOSTED, EstimatedCounter, TokenCounter, counter_for, family
from ftjobs.errors import ConfigError


def base_of(model: str) -> str:
    """The base model of a tuned one; any other is its own."""
    return model.removeprefix("ft:").partition(":")[0] if model.startswith("ft:") else model


def is_local(app: App, model: str) -> bool:
    """Whether a job on this model would run on this machine.

    Raises:
        ConfigError: the name is empty, as that of an unset variable is.
    """
    if not model.strip():
        raise ConfigError("--model is empty", hint="Name a base model, such as smollm2-135m.")
    from ftjobs.backends.local import models

    hosted = family(model) in HOSTED or app.settings.backend != "local"
    return not hosted and models.is_name(base_of(model))


def find_counter(app: App, model: str | None) -> TokenCounter:
    """The exact counter of a model if this machine has it, else an estimate that says why.

    Never asks the network, and never raises for an unknown model, only for an empty name.
    """
    if model is None or not is_local(app, model):
        return counter_for(model)
    from ftjobs.backends.local.training import tokens

    try:
        return tokens.counter_for(base_of(model), app.settings.cache)
    except ConfigError as error:
        return EstimatedCounter(note="; ".join(filter(None, (error.message, error.hint))))
