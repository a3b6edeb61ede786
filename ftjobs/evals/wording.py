"""What a comparison found, in words whose rounding never tells another story than the numbers.

Scores from 0 to 1 are told in points, which are hundredths; preferences as a win rate, where ties
count half; log-likelihoods in nats.  Every report prints numbers through this module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ftjobs.evals.result import ArmSummary, Contrast, Gate

__all__ = [
    "Told",
    "Unit",
    "least",
    "p_text",
    "p_value",
    "power_sentence",
    "ratio",
    "told",
    "unit_of",
    "verdict_sentence",
]

Unit = Literal["points", "nats", "win rate", ""]
"""What a difference is told in; "" for a score that has no bounds and no unit."""

LIKELIHOODS = ("likelihood", "perplexity", "nll")
"""Graders whose names hold one of these score in nats."""

MINUS = "−"
FINEST = 17
"""Decimals at which a double has nothing more to tell."""


@dataclass(frozen=True, slots=True)
class Told:
    """A difference and its interval, ready to print with the same number of decimals.

    For preferences they are win rates in percent, otherwise differences with a sign.  `low` lies
    on the same side of nought and of the gate's bar as the number does, and so does `high`.
    """

    difference: str
    low: str
    high: str
    unit: Unit

    def interval(self, confidence: float = 0.95) -> str:
        """Such as "95 % CI 2.1 to 14.0"."""
        percent = " %" if self.unit == "win rate" else ""
        return f"{confidence * 100:g} % CI {self.low} to {self.high}{percent}"

    @property
    def whole(self) -> str:
        """The difference with its unit, such as "+8.2 points" or "win rate 62.5 %"."""
        if self.unit == "win rate":
            return f"win rate {self.difference} %"
        return f"{self.difference} {self.unit}".rstrip()


def unit_of(contrast: Contrast) -> Unit:
    """What the contrast's difference is told in."""
    if contrast.kind == "preference":
        return "win rate"
    if any(word in contrast.grader for word in LIKELIHOODS):
        return "nats"
    means = [mean.value for mean in contrast.means or ()]
    return "points" if all(0 <= mean <= 1 for mean in means) else ""


def told(contrast: Contrast, gate: Gate | None = None) -> Told:
    """The contrast's difference and interval, with as many decimals as honesty takes.

    Args:
        contrast: what was found.
        gate: whose bar the bounds must be seen to meet or to miss.
    """
    unit = unit_of(contrast)
    numbers = (contrast.difference, contrast.low, contrast.high)
    bars = (0.0,) if gate is None else (0.0, _bar(gate))
    decimals = _decimals(numbers, bars, unit)
    texts = [f"{_shown(number, unit):.{decimals}f}" for number in numbers]
    signs = "+" if unit != "win rate" else ""
    difference = texts[0] if float(texts[0]) <= 0 else signs + texts[0]
    return Told(_signed(difference), _signed(texts[1]), _signed(texts[2]), unit)


def _bar(gate: Gate) -> float:
    return gate.margin if gate.rule == "better" else -gate.margin


def _shown(number: float, unit: Unit) -> float:
    """A difference in its unit; nats and bare numbers stay as they are."""
    if unit == "win rate":
        return 50 + number * 100
    return number * 100 if unit == "points" else number


def _decimals(numbers: Sequence[float], bars: Sequence[float], unit: Unit) -> int:
    """The fewest decimals that leave every number on its own side of every bar."""
    fewest = 1 if unit in ("points", "win rate") else 2
    for decimals in range(fewest, FINEST):
        if all(
            _side(float(f"{_shown(number, unit):.{decimals}f}"), float(_plain(_shown(bar, unit))))
            == _side(number, bar)
            for number in numbers
            for bar in bars
        ):
            return decimals
    return fewest  # the bar itself is finer than what is printed of it


def _side(number: float, bar: float) -> int:
    return (number > bar) - (number < bar)


def _plain(number: float) -> str:
    return f"{number:.6g}"


def _signed(text: str) -> str:
    """With a real minus; nought has no sign."""
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def p_value(p: float, alpha: float = 0.05) -> str:
    """Such as "p = .012" or "p < .001"; it never rounds to the other side of `alpha`."""
    text = p_text(p, alpha)
    return f"p {text}" if text[0] in "<>" else f"p = {text}"


def p_text(p: float, alpha: float = 0.05) -> str:
    """The same for a table: ".012" or "< .001"."""
    if p < 0.001:
        return "< .001"
    if 0.995 <= p < 1:
        return "> .99"
    if p >= 1:
        return "1"
    fewest = 2 if p >= 0.1 else 3
    shown = next(
        text
        for decimals in range(fewest, FINEST + 1)
        if _side(float(text := f"{p:.{decimals}f}"), alpha) == _side(p, alpha) or decimals == FINEST
    )
    return (shown.removesuffix("0") if p < 0.1 else shown).removeprefix("0")


def ratio(numerator: float, denominator: float) -> str:
    """Such as "0.6×", with two digits below 0.1 and none after the point from 10 on."""
    times = numerator / denominator
    if times >= 9.95:
        return f"{times:,.0f}×"
    if times >= 0.095 or times == 0:
        return f"{times:.1f}×"
    return f"{float(f'{times:.1g}'):.{-math.floor(math.log10(times))}f}×"


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
    bar = f"{_plain(_width(gate.margin, numbers.unit))} {_noun(numbers.unit)}".rstrip()
    if word == "inconclusive":
        return f"It is open whether {arm} {_question(base, bar, gate)}: {numbers.whole}"
    if _is_size(contrast, word, gate):
        verb = "beats" if word == "pass" else "loses to"
        asked = f" ({bar} were asked for)" if word == "pass" and _asks_more(gate) else ""
        return f"{_start(arm)} {verb} {base} {_size(numbers)}{asked}"
    if gate.rule == "better":
        return f"{_start(arm)} does not beat {base} by the {bar} asked for: {numbers.whole}"
    worse = f"more than {bar} worse than {base}"
    return f"{_start(arm)} is {'not ' if word == 'pass' else ''}{worse}: {numbers.whole}"


def _asks_more(gate: Gate) -> bool:
    return gate.rule == "better" and gate.margin > 0


def _question(base: str, bar: str, gate: Gate) -> str:
    if gate.rule == "better":
        return f"beats {base} by {bar}" if gate.margin else f"beats {base}"
    return f"is more than {bar} worse than {base}" if gate.margin else f"is worse than {base}"


def _width(margin: float, unit: Unit) -> float:
    return margin * 100 if unit in ("points", "win rate") else margin


def _noun(unit: Unit) -> str:
    return "points" if unit == "win rate" else unit


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
    if not contrast.low <= _bar(gate) <= contrast.high:
        yield "too many rows lack a score to decide"
    elif contrast.detectable is not None:
        size = _least(contrast.detectable, unit_of(contrast))
        yield f"so many rows find a difference of {size} or more with a power of 0.8"


def least(detectable: float, unit: Unit) -> str:
    """A detectable difference (a width, also of win rates) in its unit, rounded up."""
    decimals = 1 if unit in ("points", "win rate") else 2
    size = 10**decimals
    return f"{math.ceil(_width(detectable, unit) * size - 1e-9) / size:.{decimals}f}"


def _least(detectable: float, unit: Unit) -> str:
    return f"{least(detectable, unit)} {_noun(unit)}".rstrip()


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
        clusters: how many clusters the rows form; they detect less than as many rows alone.
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
    if disagreement is None:
        return found
    return f"{found}, if {disagreement * 100:g} % of them come out differently"
