"""What the page says around its rows: numbers in a table, gate, regressions, bias, warnings."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from ftjobs.evals.figures import bar_of, least, mean_text, p_text, told, unit_of
from ftjobs.evals.result import Bias, Comparison, Contrast, Gate, Verdict
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._changes import Change, candidate
from ftjobs.reports.comparison._forest import strip
from ftjobs.reports.comparison._html_rows import change_words
from ftjobs.reports.comparison._html_texts import excerpt
from ftjobs.reports.page import bdi, safe, table
from ftjobs.reports.words import many
from ftjobs.schema import ChatMessage

__all__ = ["biases", "contrasts", "gate", "regressions", "warnings"]

WORST = 10
"""Regressions that are listed."""

_DASH = "–"


def contrasts(comparison: Comparison) -> Iterator[str]:
    """The numbers behind the forest plot."""
    head = (
        *("Grader", "Arm", "n", "Baseline", "Arm’s mean", "Difference", "Interval"),
        *("p", "p (Holm)", "Better", "Equal", "Worse", "Detectable", "Method"),
    )
    rows = (_contrast(each, round(1 - comparison.confidence, 12)) for each in comparison.contrasts)
    yield from table("All differences", head, rows, right="llrrrrrrrrrrrl")


def _contrast(found: Contrast, alpha: float) -> tuple[str, ...]:
    numbers = told(found)
    unit = " %" if numbers.unit == "win rate" else ""
    n = f"{found.n:,}" if found.clusters is None else f"{found.n:,} in {found.clusters:,} clusters"
    means = (mean_text(mean, numbers.unit) for mean in found.means or ())
    p_values = (_DASH if p is None else p_text(p, alpha) for p in (found.p, found.p_adjusted))
    counts = (f"{number:,}" for number in (found.wins, found.ties, found.losses))
    return (
        bdi(found.grader) + (f" on {bdi(found.set)}" if found.set else ""),
        bdi(found.arm),
        n,
        *(means if found.means else (_DASH, _DASH)),
        f"{numbers.difference}{unit}",
        f"{numbers.low} to {numbers.high}{unit}",
        *map(safe, p_values),
        *counts,
        _DASH if found.detectable is None else least(found.detectable, numbers.unit),
        safe(_method(found)),
    )


def _method(found: Contrast) -> str:
    parts = [found.interval, found.test]
    if found.t_interval is not None:
        size = 100 if unit_of(found) == "points" else 1
        low, high = (f"{bound * size:.4g}".replace("-", "−") for bound in found.t_interval)
        parts.append(f"t interval {low} to {high}")
    if found.kind == "preference":
        parts.append(f"{many(found.conflicts, 'conflict')} of the two orders")
    return "; ".join(filter(None, parts))


def gate(comparison: Comparison) -> Iterator[str]:
    """What was asked of the candidate, and what it showed."""
    verdict = comparison.verdict
    if verdict is None:
        lacking = "No row could be graded for both arms, so there is nothing to decide on."
        yield f"<p>{lacking if words.ungraded(comparison) else 'There is no verdict.'}</p>"
        return
    found = comparison.contrast(verdict.grader, verdict.arm)
    yield f"<p>{_asked(verdict, comparison.confidence, found)}</p>"
    if found is not None:
        numbers = told(found, verdict.gate)
        yield f"<p>It found {safe(numbers.whole)}, {safe(numbers.interval(comparison.confidence))}."
        yield f"{_meaning(verdict, found)}</p>"


_MEANING = {
    "pass": "The whole interval lies above the bar: <strong>pass</strong>.",
    "fail": "The whole interval lies below the bar: <strong>fail</strong>.",
    "inconclusive": "The bar is inside of the interval: <strong>inconclusive</strong>. "
    "More rows, or more samples of each, make the interval narrower.",
}


def _meaning(verdict: Verdict, found: Contrast) -> str:
    inside = found.low <= bar_of(verdict.gate) <= found.high
    return _MEANING[verdict.word] if verdict.word != "inconclusive" or inside else _LACKING


_LACKING = "Too many rows lack a score to decide: <strong>inconclusive</strong>."


def _asked(verdict: Verdict, confidence: float, found: Contrast | None) -> str:
    of = f"the {confidence * 100:g} % interval of {bdi(verdict.arm)} − {bdi(verdict.baseline)}"
    return (
        f"Gate: <strong>{verdict.gate.rule}</strong>, by {bdi(verdict.grader)}. "
        f"All of {of} must lie above {_bar(verdict.gate, found)}."
    )


def _bar(asked: Gate, found: Contrast | None) -> str:
    """The bar, in the unit in which the interval is told."""
    bar = bar_of(asked) or 0.0  # -0 is none
    if found is None:
        return f"{bar:g}".replace("-", "−")
    unit = told(found).unit
    if unit == "win rate":
        return f"a win rate of {50 + bar * 100:g} %"
    shown = f"{bar * 100:g} points" if unit == "points" else f"{bar:g} {unit}".rstrip()
    return shown.replace("-", "−")


def regressions(
    comparison: Comparison, found: Sequence[Change], shown: Container[int]
) -> Iterator[str]:
    """The rows that lost most, as links to those that are `shown`."""
    worse = [change for change in found if change.outcome == "worse"]
    arm, graded = candidate(comparison), sum(change.outcome != "ungraded" for change in found)
    if arm is None or not graded:
        yield "<p>No row was graded for both arms.</p>"
        return
    first = f"; the worst {WORST} of them" if len(worse) > WORST else ""
    yield (
        f"<p>{bdi(arm)} is worse than {bdi(comparison.baseline)} on {len(worse):,} of "
        f"{many(graded, 'graded row')}{first}{':' if worse else '.'}</p>"
    )
    if worse:
        yield '<ol class="worst">'
        yield from (_regression(change, shown) for change in worse[:WORST])
        yield "</ol>"


def _regression(change: Change, shown: Container[int]) -> str:
    number, asked = change.row.number, excerpt(_question(change.row.messages), 160)
    name = f"Row {number}"
    link = f'<a href="#row-{number}">{name}</a>' if number in shown else f"<span>{name}</span>"
    return f'<li>{link} {asked} <span class="outcome worse">{change_words(change)}</span></li>'


def _question(messages: Sequence[ChatMessage]) -> str:
    content = messages[-1].content if messages else None
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in content or ())
    return " ".join(text for text in texts if isinstance(text, str))


def biases(found: Sequence[Bias], confidence: float) -> Iterator[str]:
    """What judges may have favoured, each with its share of choices around one half."""
    yield '<ul class="biases">'
    for bias in found:
        flag = '<strong class="warning">⚠ Warning</strong> ' if bias.warning else ""
        yield f"<li><p>{flag}{bdi(bias.sentence)}</p>"
        if bias.rate is not None and bias.low is not None and bias.high is not None:
            places = [100 * share for share in (bias.low, bias.rate, bias.high)]
            yield strip(50, places, filled=bias.warning)
            yield '<div class="ends" aria-hidden="true"><span>0 %</span><span>50 %</span>'
            yield "<span>100 %</span></div>"
        yield "</li>"
    yield "</ul>"
    head = ("Judge", "Bias", "Share", f"{confidence * 100:g} % interval", "Choices", "Warning")
    yield from table("Bias of judges", head, map(_bias, found), right="llrrrl")


def _bias(bias: Bias) -> tuple[str, ...]:
    share = _DASH if bias.rate is None else _percent(bias.rate)
    interval = _DASH
    if bias.low is not None and bias.high is not None:
        interval = f"{_percent(bias.low)} to {_percent(bias.high)}"
    warned = "yes" if bias.warning else "no"
    return bdi(bias.grader), safe(bias.kind), share, interval, f"{bias.n:,}", warned


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def warnings(comparison: Comparison) -> Iterator[str]:
    """Sentences that a reader of the verdict must know."""
    yield "<ul>"
    yield from (f"<li>⚠ {bdi(warning)}</li>" for warning in comparison.warnings)
    yield "</ul>"
