"""The numbers of a comparison as texts whose rounding never tells another story than they do.

Scores from 0 to 1 are told in points, which are hundredths; preferences as a win rate, where ties
count half; log-likelihoods in nats.  Every report prints numbers through this module.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ftjobs.evals.result import Contrast, Gate, Mean

__all__ = [
    "MINUS",
    "Told",
    "Unit",
    "bar_of",
    "in_unit",
    "least",
    "mean_text",
    "noun",
    "p_text",
    "p_value",
    "plain",
    "ratio",
    "told",
    "unit_of",
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
    bars = (0.0,) if gate is None else (0.0, bar_of(gate))
    decimals = _decimals(numbers, bars, unit)
    texts = [f"{_shown(number, unit):.{decimals}f}" for number in numbers]
    signs = "+" if unit != "win rate" else ""
    difference = texts[0] if float(texts[0]) <= 0 else signs + texts[0]
    return Told(_signed(difference), _signed(texts[1]), _signed(texts[2]), unit)


def mean_text(mean: Mean, unit: Unit) -> str:
    """A mean and its standard error, such as "61.7 ± 4.4"."""
    size, decimals = (100, 1) if unit == "points" else (1, 2)
    error = "" if mean.se is None else f" ± {mean.se * size:.{decimals}f}"
    return f"{mean.value * size:.{decimals}f}{error}".replace("-", MINUS)


def bar_of(gate: Gate) -> float:
    """The difference that a gate asks for; below nought where it allows to be worse."""
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
            _side(float(f"{_shown(number, unit):.{decimals}f}"), float(plain(_shown(bar, unit))))
            == _side(number, bar)
            for number in numbers
            for bar in bars
        ):
            return decimals
    return fewest  # the bar itself is finer than what is printed of it


def _side(number: float, bar: float) -> int:
    return (number > bar) - (number < bar)


def plain(number: float) -> str:
    """A margin as its user wrote it."""
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


def in_unit(margin: float, unit: Unit) -> float:
    """A width, such as a margin, in a unit; a win rate's are points."""
    return margin * 100 if unit in ("points", "win rate") else margin


def noun(unit: Unit) -> str:
    """What a width is told in."""
    return "points" if unit == "win rate" else unit


def least(detectable: float, unit: Unit) -> str:
    """A detectable difference (a width, also of win rates) in its unit, rounded up."""
    decimals = 1 if unit in ("points", "win rate") else 2
    size = 10**decimals
    return f"{math.ceil(in_unit(detectable, unit) * size - 1e-9) / size:.{decimals}f}"
