"""What a comparison found, in sentences; their numbers are those of `ftjobs.evals.figures`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from ftjobs.evals.figures import (
    MINUS,
    Told,
    Unit,
    bar_of,
    in_unit,
    least,
    noun,
    p_text,
    p_value,
    plain,
    ratio,
    told,
    unit_of,
)
from ftjobs.evals.result import ArmSummary, Contrast, Gate

__all__ = ["power_sentence", "verdict_sentence"]


def verdict_sentence(
    contrast: Contrast,
    arms: Sequence[ArmSummary],
    word: Literal["pass", "fail", "inconclusive"],
    gate: Gate,
    *,
    confidence: float = 0.95,
) -> str:
    """The answer to the gate's question, with every number that it rests on.

    "Tuned beats base by 8.2 points, 95 % CI 2.1 to 14.0, n = 120, p = .01; 0.6× cost, 1.2× latency"

    Args:
        contrast: the one that the gate looks at.
        arms: those of the comparison; cost and latency are left out where they are not known.
        word: what the gate says.
        gate: what was asked for.
        confidence: that of the contrast's interval.
    """
    numbers = told(contrast, gate)
    parts = [_claim(contrast, numbers, word, gate), numbers.interval(confidence)]
    if word != "inconclusive" and _is_size(contrast, word, gate) and contrast.difference < 0:
        parts[1] = _mirrored(numbers, confidence)
    parts += [_rows(contrast), *_p(contrast, confidence)]
    rest = [*_why_open(contrast, word, gate), ", ".join(_prices(contrast, arms))]
    return "; ".join([", ".join(parts), *filter(None, rest)])


def _is_size(contrast: Contrast, word: str, gate: Gate) -> bool:
    """Whether the claim is the bare "beats by" or "loses by", whose size has no sign."""
    if word == "pass":
        return gate.rule == "better" or contrast.low > 0
    return gate.margin == 0


def _mirrored(numbers: Told, confidence: float) -> str:
    """The interval of how much is lost, where the difference is below nought."""
    if numbers.unit == "win rate":
        return numbers.interval(confidence)
    return Told("", _negated(numbers.high), _negated(numbers.low), numbers.unit).interval(
        confidence
    )


def _negated(text: str) -> str:
    if text.startswith(MINUS):
        return text.removeprefix(MINUS)
    return MINUS + text if float(text) else text


def _claim(contrast: Contrast, numbers: Told, word: str, gate: Gate) -> str:
    arm, base = contrast.arm, contrast.baseline
    bar = _bar(gate, numbers.unit)
    if word == "inconclusive":
        return f"It is open whether {arm} {_question(base, bar, gate)}: {numbers.whole}"
    if _is_size(contrast, word, gate):
        verb = "beats" if word == "pass" else "loses to"
        asked = f" (asked for: {bar})" if word == "pass" and _asks_more(gate) else ""
        return f"{_start(arm)} {verb} {base} {_size(numbers)}{asked}"
    if gate.rule == "better":
        return f"{_start(arm)} does not beat {base} by the {bar} asked for: {numbers.whole}"
    worse = f"more than {bar} worse than {base}"
    return f"{_start(arm)} is {'not ' if word == 'pass' else ''}{worse}: {numbers.whole}"


def _bar(gate: Gate, unit: Unit) -> str:
    margin = plain(in_unit(gate.margin, unit))
    return f"{margin} {noun(unit).removesuffix('s') if margin == '1' else noun(unit)}".rstrip()


def _asks_more(gate: Gate) -> bool:
    return gate.rule == "better" and gate.margin > 0


def _question(base: str, bar: str, gate: Gate) -> str:
    if gate.rule == "better":
        return f"beats {base} by {bar}" if gate.margin else f"beats {base}"
    return f"is more than {bar} worse than {base}" if gate.margin else f"is worse than {base}"


def _size(numbers: Told) -> str:
    if numbers.unit == "win rate":
        return f"with a win rate of {numbers.difference} %"
    return f"by {numbers.difference.lstrip('+' + MINUS)} {numbers.unit}".rstrip()


def _start(name: str) -> str:
    """A name that begins a sentence; only a plain word gets a capital."""
    return name.capitalize() if name.isascii() and name.isalpha() and name.islower() else name


def _rows(contrast: Contrast) -> str:
    rows = f"n = {contrast.n:,}"
    return rows if contrast.clusters is None else f"{rows} in {contrast.clusters:,} clusters"


def _p(contrast: Contrast, confidence: float) -> Iterator[str]:
    if contrast.p is None:
        return
    alpha, holm = round(1 - confidence, 12), contrast.p_adjusted
    alone = p_value(contrast.p, alpha)
    if holm is None or p_value(holm, alpha) == alone:
        yield alone
    else:
        yield f"{alone} ({p_text(holm, alpha)} by Holm)"


def _why_open(contrast: Contrast, word: str, gate: Gate) -> Iterator[str]:
    """What kept the question open: too few rows, or too few that both could be graded on."""
    if word != "inconclusive":
        return
    if not contrast.low <= bar_of(gate) <= contrast.high:
        yield "too many rows lack a score to decide"
    elif contrast.detectable is not None:
        size = _least(contrast.detectable, unit_of(contrast))
        yield f"so many rows find a difference of {size} or more with a power of 0.8"


def _least(detectable: float, unit: Unit) -> str:
    return f"{least(detectable, unit)} {noun(unit)}".rstrip()


def _prices(contrast: Contrast, arms: Sequence[ArmSummary]) -> Iterator[str]:
    by_name = {arm.name: arm for arm in arms}
    arm, base = by_name.get(contrast.arm), by_name.get(contrast.baseline)
    if arm is None or base is None:
        return
    if arm.usd is not None and base.usd and arm.answers and base.answers:
        yield f"{ratio(arm.usd / arm.answers, base.usd / base.answers)} cost"
    if arm.seconds and base.seconds and base.seconds[0]:
        yield f"{ratio(arm.seconds[0], base.seconds[0])} latency"


def power_sentence(
    n: int,
    detectable: float | None,
    *,
    disagreement: float | None = None,
    clusters: int | None = None,
    confidence: float = 0.95,
    power: float = 0.8,
    unit: Unit = "points",
) -> str:
    """What so many rows can detect, to be read before anything is spent.

    "120 rows detect a difference of 11.3 points or more (power 0.8, α = .05), if 20 % of them
    come out differently"

    Args:
        n: rows.
        detectable: the smallest difference, from 0 to 1 for points; None where there is none.
        disagreement: the assumed share of rows whose scores differ between the two arms.
        clusters: how many clusters the rows form, for which `detectable` was found.
        confidence: that of the interval which decides.
        power: how often a difference of this size is found.
        unit: what the difference is told in.
    """
    rows = f"{n:,} row{'' if n == 1 else 's'}"
    if clusters is not None:
        rows += f" in {clusters:,} cluster{'' if clusters == 1 else 's'}"
    verb = "detects" if n == 1 else "detect"
    if detectable is None or (unit in ("points", "win rate") and detectable >= 1):
        return f"{rows} {verb} no difference at all: more are needed"
    level = f"power {power:g}, α = {f'{1 - confidence:.4g}'.removeprefix('0')}"
    found = f"{rows} {verb} a difference of {_least(detectable, unit)} or more ({level})"
    alike = "" if clusters is None else "those of a cluster"
    if disagreement is None or detectable > disagreement:  # then at least so many rows differ
        return f"{found}, if {alike} come out alike" if alike else found
    return f"{found}, if {disagreement * 100:g} % of them come out differently" + (
        alike and f", {alike} alike"
    )
