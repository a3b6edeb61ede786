"""The cost gate: an upper estimate of what a job costs, held against what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ftjobs.backends.base import Trainer
from ftjobs.data.cost import Cost, Price
from ftjobs.schema import JobSpec

__all__ = ["Estimate", "Planned", "check_budget", "estimate"]


class Planned(Protocol):
    """A checked file of a job; `bytes` is its size."""

    @property
    def path(self) -> Path: ...

    @property
    def sha256(self) -> str: ...

    @property
    def bytes(self) -> int: ...

    @property
    def examples(self) -> int: ...


class Estimate(Cost):
    """A `Cost` with an upper bound, for `Plan.cost` (annotate it so, or the bound is not kept).

    `margin` is the factor between the expected tokens and the most there can be; `most_usd` is
    the upper bound in US dollars, None where nobody knows.
    """

    margin: float = 1.0
    most_usd: float | None = None


def estimate(
    backend: Trainer,
    spec: JobSpec,
    files: Mapping[str, Planned],
    *,
    prices: Mapping[str, Price] | None = None,
) -> Estimate:
    """What a job is expected to cost, and the most that it can.

    Args:
        backend: where the job would run.
        spec: the job; the ids of its files do not matter.
        files: what it would train and validate on, by the spec's field.
        prices: by model; None takes those that ship with ftjobs (`ftjobs.data.cost.load_prices`
            adds the user's own).
    """
    raise NotImplementedError


def check_budget(cost: Cost | None, max_cost: float | None, allow_unknown: bool = False) -> None:
    """Let a job pass whose upper estimate is at most `max_cost` US dollars; None allows any.

    Raises:
        CostError: it could cost more, or nobody knows and `allow_unknown` is not set.
    """
    raise NotImplementedError
