"""The cost gate: the most that a job can cost, held against what it may cost.

The expected cost is `ftjobs.data.cost`'s.  The upper bound adds what the expectation leaves
open: tokens that were estimated and not counted, and preferences that may be billed twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from ftjobs.backends.base import Prices, Trainer
from ftjobs.data.cost import Cost, Price, auto_epochs, dollars, estimate_cost, price_of, shipped
from ftjobs.data.stats import Statistics, statistics
from ftjobs.data.tokens import HOSTED, EstimatedCounter, TokenCounter, counter_for, family
from ftjobs.errors import BackendError, ConfigError, CostError, TrainingError
from ftjobs.schema import JobSpec

__all__ = ["Estimate", "Planned", "bound", "check_budget", "counter_of", "estimate"]

KNOWN_TOKENIZER, UNKNOWN_TOKENIZER = 2.0, 4.0
"""How many times its estimate a text's tokens may be, by what `ftjobs.data.estimate` measured:
random letters in a vocabulary that it was fitted to, and rare scripts in a small one."""


_NOTHING: Mapping[str, Statistics] = MappingProxyType({})


class Planned(Protocol):
    """A checked file of a job."""

    @property
    def path(self) -> Path:
        """Where it is on this machine."""

    @property
    def sha256(self) -> str:
        """Of its bytes."""

    @property
    def bytes(self) -> int:
        """Its size."""

    @property
    def examples(self) -> int:
        """Its rows."""

    @property
    def file_id(self) -> str | None:
        """The service's file with these bytes; None where it has none."""


class Estimate(Cost):
    """What a job is expected to cost, and the most that it can.

    `margin` is how many times the billed tokens there can be at most, and `most_usd` what those
    cost in US dollars.  `unknown` says why `usd` and `most_usd` are None.  `said_by` is the service
    whose own estimate both are; such an estimate has no margin.  `counting` says why tokens were
    estimated and not counted, and what helps.
    """

    margin: float = 1.0
    most_usd: float | None = None
    unknown: str = ""
    said_by: str = ""
    counting: str = ""


def estimate(
    backend: Trainer,
    spec: JobSpec,
    files: Mapping[str, Planned],
    *,
    prices: Mapping[str, Price] | None = None,
    counted: Mapping[str, Statistics] = _NOTHING,
) -> Estimate:
    """What a job is expected to cost, and the most that it can; one pass over each billed file.

    A service that prices jobs itself is asked, if it has the files already.  A price that ships
    with ftjobs holds only at its own service; a user's own holds anywhere.  A validation file
    that is billed is taken to be evaluated once an epoch.

    Args:
        backend: where the job would run.
        spec: the job; the ids of its files do not matter.
        files: what it would train and validate on, by the spec's field.
        prices: by model (`ftjobs.data.cost.load_prices`); None takes those that ship with ftjobs.
        counted: the statistics of files whose tokens were counted already, by the spec's field.

    Raises:
        ConfigError: a file cannot be read.
    """
    ours = _from_here(backend, spec, files, prices, counted)
    said = None if ours.local else _said(backend, spec, files)
    if said is None:
        return ours
    own = {"usd": said, "most_usd": said, "margin": 1.0, "unknown": "", "price": None}
    return ours.model_copy(update={**own, "said_by": backend.name})


def _from_here(
    backend: Trainer,
    spec: JobSpec,
    files: Mapping[str, Planned],
    prices: Mapping[str, Price] | None,
    counted: Mapping[str, Statistics],
) -> Estimate:
    """The estimate from the files and the prices that are on this machine."""
    local = backend.name == "local"
    known = {} if local else _prices_at(backend.name, prices)
    counter = counter_of(backend, spec)
    billed = [
        (files[field], counted.get(field) or statistics(files[field].path, counter))
        for field in _billed(files, known, spec.model)
    ]
    epochs, given = _epochs(spec, files["training_file"], local=local)
    (_, found), *validation = billed
    cost = estimate_cost(
        found,
        spec.model,
        epochs=epochs,
        prices=known,
        local=local,
        validation=validation[0][1] if validation else None,
        evaluations=epochs,
    )
    bounded = _bounded(cost, spec, billed, backend.name)
    counting = "" if counter.exact else counter.note
    return bounded.model_copy(update={"epochs_given": given, "counting": counting})


def _billed(files: Mapping[str, Planned], prices: Mapping[str, Price], model: str) -> list[str]:
    """The files whose tokens cost money: the training file, and validation where it is billed."""
    price = price_of(model, prices)
    fields = ["training_file", "validation_file"] if price and price.validation else []
    return [field for field in fields or ["training_file"] if field in files]


def _said(backend: Trainer, spec: JobSpec, files: Mapping[str, Planned]) -> float | None:
    """What the service says that the job will cost, if it can be asked and has all files."""
    ids = {field: file.file_id for field, file in files.items()}
    if not isinstance(backend, Prices) or None in ids.values():
        return None
    try:
        said = backend.price(spec.model_copy(update=ids))
    except BackendError:
        return None  # the estimate from here has to do
    return said if said is not None and 0 <= said < math.inf else None


def check_budget(cost: Cost | None, max_cost: float | None, allow_unknown: bool = False) -> None:
    """Let a job pass whose upper bound is at most `max_cost` US dollars; None lets any pass.

    Raises:
        CostError: it could cost more, or nobody knows and `allow_unknown` is not set.
        ConfigError: `max_cost` is no amount of money.
    """
    if max_cost is None:
        return
    if not 0 <= max_cost < math.inf:
        raise ConfigError(f"max_cost is an amount of dollars from 0 on, not {max_cost:g}")
    most = None if cost is None else _most(cost)
    if cost is None or most is None:
        if allow_unknown:
            return
        reason = getattr(cost, "unknown", "") or "no price is known"
        raise CostError(
            f"nobody knows what this job costs ({reason}); it may cost {dollars(max_cost)}",
            hint=(
                "Write the price into prices.toml in $FTJOBS_HOME, or allow it with "
                "--allow-unknown-cost."
            ),
        )
    if most > max_cost:
        expected = dollars(cost.usd or 0.0)
        raise CostError(
            f"this job can cost {bound(most)} ({expected} is expected), more than the "
            f"{dollars(max_cost)} that it may",
            hint="Raise the limit, or train for fewer epochs or on fewer examples.",
        )


def bound(usd: float) -> str:
    """An upper bound for people: whole cents, never fewer than there are."""
    return dollars(math.ceil(usd * 100) / 100 if usd >= 0.01 else usd)


def _most(cost: Cost) -> float | None:
    return cost.most_usd if isinstance(cost, Estimate) else cost.usd


def counter_of(backend: Trainer, spec: JobSpec) -> TokenCounter:
    """The exact counter of a job's tokens if this machine has it, else an estimate."""
    if backend.name != "local":
        return counter_for(spec.model)
    from ftjobs.backends.local.backend import LocalBackend
    from ftjobs.backends.local.training import tokens

    if not isinstance(backend, LocalBackend):
        return counter_for(spec.model)
    try:
        return tokens.counter_for(spec.model, backend.settings.cache, spec.hyperparameters)
    except (ConfigError, TrainingError) as error:
        return EstimatedCounter(note=error.message)


def _prices_at(service: str, prices: Mapping[str, Price] | None) -> dict[str, Price]:
    """The prices that hold at a service: its own, and those that a user wrote down."""
    ours = shipped()
    known = ours if prices is None else prices
    return {
        model: price
        for model, price in known.items()
        if price.service.casefold() == service.casefold() or price != ours.get(model)
    }


def _epochs(spec: JobSpec, train: Planned, *, local: bool) -> tuple[int, bool]:
    """Passes over the file, and whether they were chosen."""
    chosen = spec.hyperparameters.n_epochs
    if isinstance(chosen, int):
        return chosen, True
    if local:
        from ftjobs.backends.local.training import tokens

        return tokens.auto_epochs(max(1, train.examples), spec.hyperparameters), False
    return auto_epochs(max(1, train.examples)), False


def _bounded(
    cost: Cost, spec: JobSpec, billed: list[tuple[Planned, Statistics]], service: str
) -> Estimate:
    values = cost.model_dump(exclude={"usd"})
    if cost.local:
        return Estimate(**values, usd=0.0, most_usd=0.0)
    if unknown := _unknown(cost, spec, billed, service):
        return Estimate(**values, usd=None, unknown=unknown)
    most = sum(_most_tokens(cost, spec, *one) for one in billed) * cost.epochs
    margin = max(1.0, most / max(1, cost.billed_tokens))
    return Estimate(**values, usd=cost.usd, margin=margin, most_usd=(cost.usd or 0.0) * margin)


def _unknown(
    cost: Cost, spec: JobSpec, billed: list[tuple[Planned, Statistics]], service: str
) -> str:
    """Why nobody knows what a job costs; "" if that is known."""
    if cost.price is None:
        return f"there is no price for {cost.model} at {service}"
    if spec.method == "reinforcement":
        return "reinforcement jobs are billed by time"
    if any(found.images for _, found in billed):
        return "how many tokens an image has is not known"
    return ""


def _most_tokens(cost: Cost, spec: JobSpec, file: Planned, found: Statistics) -> int:
    """The most tokens that a pass over a file can bill: never more than one for each byte."""
    tokens = found.tokens.total if found.tokens else 0
    margin = 1.0
    if not found.exact:
        margin = KNOWN_TOKENIZER if family(cost.model) in HOSTED else UNKNOWN_TOKENIZER
    most = file.bytes if found.uncounted else min(file.bytes, round(tokens * margin))
    return most * 2 if spec.method == "dpo" else most  # the prompt, with either output
