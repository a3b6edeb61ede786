"""Do the intervals cover, and do the tests hold their level?  2,000 seeded repeats a cell.

python -m tests.benchmarks.statistics [WORD ...]     # lines whose names hold a word; some minutes

A line draws what a grader would have given: two arms whose true difference is known.  `covers` is
the share of nominal 95 % intervals that hold it, `rejects` that of p-values of at most .05 after
the arms of each row, or of each cluster, were swapped at random, so that neither is better.  Lines
of counts, which are quick, get four times as many repeats.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ftjobs.evals.statistics import Effect, paired, preference

REPEATS = 2_000
COUNTS = 8_000
SIZES = (15, 30, 100)
MANY = 400_000  # rows from which a true difference is learned that no formula gives
COVERS = (0.93, 0.995)
REJECTS = 0.06

_Array = npt.NDArray[np.float64]
_Arms = tuple[_Array, _Array]


class Line(NamedTuple):
    """A way in which scores come about: `draw` gives those of (baseline, arm) in `n` rows."""

    name: str
    kind: Literal["binary", "continuous", "preference"]
    draw: Callable[[np.random.Generator, npt.NDArray[np.intp]], _Arms]
    sizes: str = ""
    outside: str = ""
    """Why a cell may miss the targets."""
    lopsided: bool = False
    """Whether the null is the draw itself, of mean 0 but not symmetric, rather than swapped."""
    repeats: int = REPEATS


def binary(ahead: float, behind: float) -> Callable[..., _Arms]:
    """The arm alone is right with probability `ahead`, the baseline alone with `behind`."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        u = rng.random(len(clusters))
        only_arm, only_base = u < ahead, (u >= ahead) & (u < ahead + behind)
        both = rng.random(len(clusters)) < 0.6
        return np.where(only_base | (both & ~only_arm), 1.0, 0.0), np.where(
            only_arm | (both & ~only_base), 1.0, 0.0
        )

    return draw


def choices(win: float, loss: float, votes: int = 1) -> Callable[..., _Arms]:
    """A judge's preferences, the mean of `votes` of them: (always 0.5, the score)."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        u = rng.random((votes, len(clusters)))
        score = np.where(u < win, 1.0, np.where(u < win + loss, 0.0, 0.5)).mean(axis=0)
        return np.full(len(clusters), 0.5), score

    return draw


def shifted(noise: Callable[[np.random.Generator, int], _Array]) -> Callable[..., _Arms]:
    """Scores without bounds whose difference is `noise`."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        base = rng.normal(5, 1, len(clusters))
        return base, base + noise(rng, len(clusters))

    return draw


def bounded(same: float, gain: float = 0.15) -> Callable[..., _Arms]:
    """Such as chrF: from 0 to 1, with mass at both ends, and a share of answers that are equal."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        n = len(clusters)
        hard = rng.normal(0.5, 0.5, n)
        base = np.clip(hard + rng.normal(0, 0.3, n), 0, 1)
        arm = np.clip(hard + gain / (1 - same) + rng.normal(0, 0.3, n), 0, 1)
        return base, np.where(rng.random(n) < same, base, arm)

    return draw


def samples(k: int, sure: float) -> Callable[..., _Arms]:
    """Means of `k` right-or-wrong answers; the smaller `sure`, the surer both arms are of each."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        p = rng.beta(sure, sure, len(clusters))
        return rng.binomial(k, p) / k, rng.binomial(k, p + 0.15 * (1 - p)) / k

    return draw


def clustered(kind: str) -> Callable[..., _Arms]:
    """Rows of a cluster share a third of the variance of their differences."""

    def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp]) -> _Arms:
        n = len(clusters)
        shared = rng.normal(0, 0.7, clusters.max() + 1)[clusters]
        latent = 0.3 + shared + rng.normal(0, 1, n)
        if kind == "binary":
            base = (rng.random(n) < 0.5).astype(float)
            return np.where(latent > 1, 0.0, np.where(latent < -1, 1.0, base)), np.where(
                latent > 1, 1.0, np.where(latent < -1, 0.0, base)
            )
        return np.zeros(n), np.exp(0.5 * latent) if kind == "skewed" else latent

    return draw


def partition(rng: np.random.Generator, n: int, sizes: str) -> npt.NDArray[np.intp]:
    """The cluster of each of `n` rows: "" none, "equal" threes, "uneven" geometric of mean 3."""
    if not sizes:
        return np.arange(n)
    lengths = np.full(n, 3) if sizes == "equal" else rng.geometric(1 / 3, n)
    return np.repeat(np.arange(n), lengths)[:n]


NORMAL = shifted(lambda rng, n: rng.normal(0.1, 0.3, n))
EXPONENTIAL = shifted(lambda rng, n: rng.exponential(1, n) - 0.8)
LOPSIDED = shifted(lambda rng, n: rng.exponential(1, n) - 1)
LOGNORMAL = shifted(lambda rng, n: rng.lognormal(0, 1, n) - 1)
HEAVY = "too heavy a tail for 15 rows"
SPARSE = "hardly a row differs"
UNEQUAL = "the test asks whether arms are interchangeable; these are not"

LINES = (
    Line("binary, 10 % differ", "binary", binary(0.075, 0.025), outside=SPARSE, repeats=COUNTS),
    Line("binary, 20 % differ", "binary", binary(0.15, 0.05), repeats=COUNTS),
    Line("binary, 40 % differ", "binary", binary(0.25, 0.15), repeats=COUNTS),
    Line("binary, 80 % differ", "binary", binary(0.45, 0.35), repeats=COUNTS),
    Line("preference, 30 % ties", "preference", choices(0.45, 0.25)),
    Line("preference, 70 % ties", "preference", choices(0.2, 0.1), repeats=COUNTS),
    Line("preference, no ties", "preference", choices(0.6, 0.4), repeats=COUNTS),
    Line("preference, 3 votes", "preference", choices(0.45, 0.25, votes=3)),
    Line("normal", "continuous", NORMAL),
    Line("skewed (exponential)", "continuous", EXPONENTIAL),
    Line("lopsided (exponential)", "continuous", LOPSIDED, outside=UNEQUAL, lopsided=True),
    Line("heavy (lognormal)", "continuous", LOGNORMAL, outside=HEAVY),
    Line("bounded, 0 % equal", "continuous", bounded(0)),
    Line("bounded, 50 % equal", "continuous", bounded(0.5)),
    Line("bounded, 80 % equal", "continuous", bounded(0.8)),
    Line("bounded, 90 % equal", "continuous", bounded(0.9, 0.05), outside=SPARSE),
    Line("3 samples", "binary", samples(3, 0.5)),
    Line("3 samples, sure", "binary", samples(3, 0.1)),
    Line("5 samples", "binary", samples(5, 0.5)),
    Line("clusters of 3, normal", "continuous", clustered("normal"), "equal"),
    Line("clusters of 3, binary", "binary", clustered("binary"), "equal"),
    Line("uneven clusters, normal", "continuous", clustered("normal"), "uneven"),
    Line("uneven clusters, binary", "binary", clustered("binary"), "uneven"),
    Line("uneven clusters, skewed", "continuous", clustered("skewed"), "uneven"),
)


def effect(line: Line, arms: _Arms, clusters: npt.NDArray[np.intp], resamples: int) -> Effect:
    """What ftjobs finds."""
    groups = clusters.tolist() if line.sizes else None
    if line.kind == "preference":
        return preference(arms[1].tolist(), clusters=groups, resamples=resamples)
    base, arm = (scores.tolist() for scores in arms)
    return paired(base, arm, kind=line.kind, clusters=groups, resamples=resamples)


def truth(line: Line) -> float:
    """The true difference, to about 0.001."""
    rng = np.random.default_rng(0)
    base, arm = line.draw(rng, partition(rng, MANY, line.sizes))
    return float((arm - base).mean())


def swapped(
    line: Line, arms: _Arms, clusters: npt.NDArray[np.intp], rng: np.random.Generator
) -> _Arms:
    """Arms that change places at random, all rows of a cluster together."""
    if line.lopsided:
        return arms
    turn = (rng.random(clusters.max() + 1) < 0.5)[clusters]
    base, arm = arms
    if line.kind == "preference":
        return base, np.where(turn, arm, 1 - arm)
    return np.where(turn, arm, base), np.where(turn, base, arm)


def measure(line: Line, n: int, true: float) -> tuple[float, float, float]:
    """(coverage, mean width, rejections)."""
    rng = np.random.default_rng([n, LINES.index(line)])
    covered = rejected = width = 0.0
    for _ in range(line.repeats):
        clusters = partition(rng, n, line.sizes)
        arms = line.draw(rng, clusters)
        found = effect(line, arms, clusters, resamples=1)
        covered += found.low <= true <= found.high
        width += found.high - found.low
        null = swapped(line, arms, clusters, rng)
        rejected += effect(line, null, clusters, resamples=1_999).p <= 0.05
    return covered / line.repeats, width / line.repeats, rejected / line.repeats


def statistics(words: list[str]) -> None:
    """Print a line for each way that scores come about."""
    began = time.perf_counter()
    print(f"{'':26}" + "".join(f"{f'n = {n}':^30}" for n in SIZES))
    print(f"{'':26}" + f"{'covers   width  rejects':^30}" * len(SIZES))
    for line in (each for each in LINES if not words or any(w in each.name for w in words)):
        true, cells = truth(line), []
        for n in SIZES:
            covers, width, rejects = measure(line, n, true)
            misses = not COVERS[0] <= covers <= COVERS[1] or rejects > REJECTS
            cells.append(f"{covers:8.3f}{width:9.3f}{rejects:8.3f}{' *' if misses else '  '}   ")
        print(f"{line.name:26}{''.join(cells)}{line.outside}", flush=True)
    print(f"{time.perf_counter() - began:.0f} s;  * outside .93 to .995, or above .06")


if __name__ == "__main__":
    statistics(sys.argv[1:])
