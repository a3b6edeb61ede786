"""Rows of scores → contrasts between arms, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ftjobs.evals.arms import Arm
from ftjobs.evals.graders.base import Grader, PairGrader
from ftjobs.evals.result import ArmSummary, Contrast, Gate, Kind, Row, Verdict
from ftjobs.evals.wording import verdict_sentence

__all__ = ["contrasts_of", "verdict_of"]

MOST_MISSING = 0.1
"""Share of rows without both scores beyond which they could decide the verdict."""


def contrasts_of(
    rows: Sequence[Row],
    arms: Sequence[Arm],
    graders: Sequence[Grader | PairGrader],
    *,
    confidence: float,
    seed: int,
) -> tuple[Contrast, ...]:
    """Every arm against the first, by every grader and set that has scores of both."""
    from ftjobs.evals.statistics import holm

    names = dict.fromkeys(row.set for row in rows)
    found = [
        contrast
        for name in names
        for grader in graders
        for arm in arms[1:]
        if (contrast := _contrast(rows, name, grader, arms[0], arm, confidence, seed))
    ]
    adjusted = iter(holm([each.p for each in found if each.p is not None]))
    return tuple(
        each if each.p is None else each.model_copy(update={"p_adjusted": next(adjusted)})
        for each in found
    )


@dataclass(frozen=True, slots=True)
class _Scores:
    """What was scored of both arms, row by row."""

    baseline: tuple[float, ...]
    arm: tuple[float, ...]
    clusters: tuple[str | None, ...]


def _contrast(
    rows: Sequence[Row],
    name: str,
    grader: Grader | PairGrader,
    baseline: Arm,
    arm: Arm,
    confidence: float,
    seed: int,
) -> Contrast | None:
    from ftjobs.evals import statistics

    own = [row for row in rows if row.set == name]
    is_pair = isinstance(grader, PairGrader)
    scores = _scores(own, grader.name, None if is_pair else baseline.name, arm.name)
    if not scores.arm:
        return None
    kind = _kind(grader, scores)
    if is_pair:
        means = None
        effect = statistics.preference(
            scores.arm, clusters=scores.clusters, confidence=confidence, seed=seed
        )
    else:
        means = (
            statistics.mean(scores.baseline, scores.clusters),
            statistics.mean(scores.arm, scores.clusters),
        )
        effect = statistics.paired(
            scores.baseline,
            scores.arm,
            kind="binary" if kind == "binary" else "continuous",
            clusters=scores.clusters,
            confidence=confidence,
            seed=seed,
        )
    return Contrast(
        grader=grader.name,
        kind=kind,
        arm=arm.name,
        baseline=baseline.name,
        set=name,
        n=effect.n,
        clusters=effect.clusters,
        means=means,
        difference=effect.difference,
        low=effect.low,
        high=effect.high,
        interval=effect.interval,
        p=effect.p,
        test=effect.test,
        detectable=effect.detectable,
        t_interval=effect.t_interval,
        wins=effect.wins,
        ties=effect.ties,
        losses=effect.losses,
        conflicts=sum(_conflicts(own, grader.name, arm.name)),
    )


def _scores(rows: Sequence[Row], grader: str, baseline: str | None, arm: str) -> _Scores:
    """`baseline` is None for preferences, which compare already."""
    kept = []
    for row in rows:
        mine = row.score(grader, arm)
        other = 0.5 if baseline is None else row.score(grader, baseline)
        if mine is not None and other is not None:
            kept.append((other, mine, row.cluster or None))
    return _Scores(*zip(*kept, strict=True)) if kept else _Scores((), (), ())


def _kind(grader: Grader | PairGrader, scores: _Scores) -> Kind:
    if isinstance(grader, PairGrader):
        return "preference"
    # The mean of several samples lies between.
    is_binary = set(scores.arm) | set(scores.baseline) <= {0.0, 1.0}
    return "binary" if grader.kind == "binary" and is_binary else "continuous"


def _conflicts(rows: Sequence[Row], grader: str, arm: str) -> Iterator[bool]:
    for row in rows:
        yield from (each.conflict for each in row.preferences.get(grader, {}).get(arm, ()))


def verdict_of(
    contrasts: Sequence[Contrast],
    arms: Sequence[ArmSummary],
    gate: Gate,
    *,
    confidence: float,
    missing: Mapping[str, float],
) -> Verdict | None:
    """What the gate says of the second arm; None where its grader could score nothing.

    `missing` is the share of rows that lack an answer or a score, by grader; the first one decides
    where the gate names none.  Where the share is large, those rows could have decided otherwise,
    and the verdict is inconclusive.
    """
    from ftjobs.evals.statistics import decide

    own = [each for each in contrasts if each.set == "" and each.arm == arms[1].name]
    decides = gate.grader or next(iter(missing), None)  # chosen before, whatever was found
    contrast = next((each for each in own if each.grader == decides), None)
    if contrast is None:
        return None
    is_whole = missing[contrast.grader] <= MOST_MISSING
    word = decide(contrast.low, contrast.high, gate) if is_whole else "inconclusive"
    return Verdict(
        word=word,
        gate=gate.model_copy(update={"grader": contrast.grader}),
        grader=contrast.grader,
        arm=contrast.arm,
        baseline=contrast.baseline,
        sentence=verdict_sentence(contrast, arms, word, gate, confidence=confidence),
    )
