"""What sets an arm apart from the baseline: the difference, its interval, and the test."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ftjobs.errors import ConfigError
from ftjobs.evals.result import Mean
from ftjobs.evals.statistics.clusters import freedom, numbered, pseudo_values
from ftjobs.evals.statistics.intervals import (
    EQUAL,
    Interval,
    bonett_price,
    joined,
    standard_error,
    student_t,
)
from ftjobs.evals.statistics.power import detectable
from ftjobs.evals.statistics.significance import EXACT, RESAMPLES, sign_flip, sign_test

__all__ = ["Effect", "mean", "paired", "preference"]

_Array = npt.NDArray[np.float64]
_Numbers = npt.NDArray[np.intp] | None


@dataclass(frozen=True, slots=True)
class Effect:
    """A paired difference; the attributes are those of `ftjobs.evals.result.Contrast`."""

    n: int
    clusters: int | None
    difference: float
    low: float
    high: float
    interval: str
    p: float
    test: str
    detectable: float | None
    t_interval: tuple[float, float] | None
    wins: int
    ties: int
    losses: int


_LARGEST = 1e100
"""Of scores, so that their cubes and sums are numbers."""


class _Way(NamedTuple):
    confidence: float
    seed: int
    resamples: int


def paired(
    baseline: Sequence[float],
    arm: Sequence[float],
    *,
    kind: Literal["binary", "continuous"],
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Effect:
    """The scores of an arm against the baseline's, row by row.

    Binary scores get McNemar's exact test and the interval of Bonett & Price.  All others, the
    mean of several samples of a binary score among them, and all that come in clusters, get the
    sign-flip test and an interval from t and the BCa bootstrap.

    Args:
        baseline: its score of each row; where several samples were drawn, their mean.
        arm: the arm's score of the same rows.
        kind: "binary" scores lie from 0 to 1.
        clusters: each row's; None for independent rows, and for a row on its own.
        confidence: of the interval; `detectable` takes 1 - `confidence` for its alpha.
        seed: of the signs that are drawn where they are too many to try all.
        resamples: how many are drawn.

    Raises:
        ConfigError: there is no row, the lengths differ, a score is not finite or a binary one not
            from 0 to 1, or an argument is out of its range.
    """
    before, after = _scores(baseline, "the baseline"), _scores(arm, "the arm")
    if len(before) != len(after):
        raise ConfigError(f"{len(before)} scores of the baseline, but {len(after)} of the arm")
    both = np.concatenate((before, after))
    unit = bool(both.min() >= 0 and both.max() <= 1)
    if kind == "binary" and not unit:
        raise ConfigError("a binary score is not from 0 to 1")
    numbers, way = numbered(clusters, len(before)), _way(confidence, seed, resamples)
    if kind == "binary" and numbers is None and bool(np.isin(both, (0, 1)).all()):
        return _counted(after - before, 1.0, "exact McNemar", confidence)
    differences = after - before
    differences[np.abs(differences) <= EQUAL * np.abs(both).max()] = 0
    if unit:
        return _measured(differences, numbers, way, 1.0, 1.0)
    return _measured(differences, numbers, way, _seen(both, numbers), math.inf)


def preference(
    scores: Sequence[float],
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Effect:
    """A judge's choices: 1 where the arm won, 0 where the baseline did, 0.5 for a tie.

    The difference is the win rate, in which ties count half, less 0.5.  Wins and losses are
    compared by the sign test, and the interval is that of Bonett & Price; means of several
    choices, and clusters, are treated as `paired` treats continuous scores, whose arguments and
    errors these are.
    """
    values = _scores(scores, "the judge")
    if values.min() < 0 or values.max() > 1:
        raise ConfigError("a preference is not from 0 to 1")
    numbers, way = numbered(clusters, len(values)), _way(confidence, seed, resamples)
    if numbers is None and bool(np.isin(values, (0, 0.5, 1)).all()):
        return _counted(values - 0.5, 0.5, "sign test", confidence)
    differences = values - 0.5
    differences[np.abs(differences) <= EQUAL] = 0
    return _measured(differences, numbers, way, 0.5, 0.5)


def mean(scores: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Mean:
    """The mean of scores with its standard error (Miller 2024); the error of one value is None.

    Raises:
        ConfigError: there is no score, one is not finite, or the clusters are not as many.
    """
    values = _scores(scores, "an arm")
    numbers = numbered(clusters, len(values))
    pseudo, value = pseudo_values(values, numbers), float(values.mean())
    error = standard_error(pseudo, value) if len(pseudo) > 1 else None
    return Mean(value=value, se=error, n=len(values))


def _seen(scores: _Array, numbers: _Numbers) -> float:
    """The largest difference that scores without bounds can have, as far as they show it.

    One row or cluster shows nothing, and scores that are all the same neither: it is their size.
    """
    width = float(np.ptp(scores))
    is_one = len(scores) == 2 or (numbers is not None and not numbers.any())
    return float(np.abs(scores).max()) if is_one or not width else width


def _counted(differences: _Array, unit: float, test: str, confidence: float) -> Effect:
    """Of differences that are `unit`, 0 or -`unit`."""
    n, (wins, losses) = len(differences), _won(differences)
    p = sign_test(wins, losses)
    ends = _no_surer(bonett_price(wins, losses, n, confidence), p, confidence)
    found = detectable(n, disagreement=(wins + losses) / n, alpha=1 - confidence)
    return Effect(
        n=n,
        clusters=None,
        difference=unit * (wins - losses) / n,
        low=unit * ends.low,
        high=unit * ends.high,
        interval="Bonett-Price",
        p=p,
        test=test,
        detectable=None if found is None or not wins + losses else unit * found,
        t_interval=None,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
    )


def _measured(
    differences: _Array, numbers: _Numbers, way: _Way, reach: float, bound: float
) -> Effect:
    """Of differences that are any numbers, as large as `reach`; never larger than `bound`."""
    n, (wins, losses) = len(differences), _won(differences)
    values, centre = pseudo_values(differences, numbers), float(differences.mean())
    sums = differences if numbers is None else np.bincount(numbers, differences).astype(np.float64)
    differing = int((sums != 0).sum())
    p = sign_flip(sums, seed=way.seed, resamples=way.resamples)
    df = freedom(numbers, n)
    ends = joined(values, centre, differing, reach, way.confidence, df).within(bound)
    if differing <= EXACT:
        ends = _no_surer(ends, p, way.confidence)
    spread = standard_error(values, centre) * math.sqrt(len(values))
    beside = student_t(values, centre, way.confidence, df)
    return Effect(
        n=n,
        clusters=None if numbers is None else len(values),
        difference=centre,
        low=ends.low,
        high=ends.high,
        interval="t and BCa bootstrap" + ("" if numbers is None else " over clusters"),
        p=p,
        test="sign-flip" + ("" if numbers is None else " of clusters"),
        detectable=detectable(len(values), sd=spread, alpha=1 - way.confidence) if spread else None,
        t_interval=(beside.low, beside.high) if len(values) > 1 else None,
        wins=wins,
        ties=n - wins - losses,
        losses=losses,
    )


def _no_surer(ends: Interval, p: float, confidence: float) -> Interval:
    """An interval that holds 0 where an exact test does not rule it out: 4 wins of 4 prove little.

    A p-value that was drawn has no say, or its seed would have.
    """
    return ends.around(0.0) if p > 1 - confidence else ends


def _won(differences: _Array) -> tuple[int, int]:
    return int((differences > 0).sum()), int((differences < 0).sum())


def _scores(scores: Sequence[float], whose: str) -> _Array:
    """Scores as an array.  Their values are left out of errors: there may be millions."""
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"a score of {whose} is not a number") from None
    if values.ndim != 1 or not values.size:
        raise ConfigError(f"there is no score of {whose}: nothing can be compared")
    if not bool(np.isfinite(values).all()):
        place = int(np.flatnonzero(~np.isfinite(values))[0]) + 1
        raise ConfigError(f"score {place} of {whose} is {values[place - 1]}, not a finite number")
    if float(np.abs(values).max()) > _LARGEST:
        raise ConfigError(f"a score of {whose} is too large: {_LARGEST:g} is the limit")
    return values


def _way(confidence: float, seed: int, resamples: int) -> _Way:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence is {confidence}: it lies between 0 and 1")
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}: at least one is drawn")
    return _Way(confidence, seed, resamples)
