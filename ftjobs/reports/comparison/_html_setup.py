"""How a comparison was made: arms and what they took, graders, prompts, seeds and hashes."""

from __future__ import annotations

from collections.abc import Iterator

from ftjobs.evals.figures import ratio
from ftjobs.evals.result import ArmSummary, Comparison
from ftjobs.reports.comparison._words import sampled
from ftjobs.reports.page import bdi, safe, table
from ftjobs.reports.words import when

__all__ = ["arms", "graders", "run"]

_DASH = "–"


def arms(comparison: Comparison) -> Iterator[str]:
    """Who answered, how, and what it took."""
    head = (
        *("Arm", "Model", "Backend", "What sets it apart", "Sampling", "Answers", "Asked now"),
        *("Failures", "Tokens read", "Tokens written", "Cost", "Median", "95th percentile"),
    )
    base = comparison.arms[0]
    rows = (_arm(arm, base) for arm in comparison.arms)
    yield from table("Arms", head, rows, right="lllllrrrrrrrr")


def _arm(arm: ArmSummary, base: ArmSummary) -> tuple[str, ...]:
    cost, seconds = _DASH, (_DASH, _DASH)
    if arm.usd is not None:
        cost = f"${arm.usd:,.4f}"
        if arm is not base and base.usd and arm.answers and base.answers:
            cost += f" ({ratio(arm.usd / arm.answers, base.usd / base.answers)} an answer)"
    if arm.seconds is not None:
        median, slow = arm.seconds
        seconds = f"{median:.2f} s", f"{slow:.2f} s"
        if arm is not base and base.seconds and base.seconds[0]:
            seconds = f"{median:.2f} s ({ratio(median, base.seconds[0])})", seconds[1]
    counts = (arm.answers, arm.asked, arm.failures, arm.tokens_read, arm.tokens_written)
    return (
        bdi(arm.name),
        bdi(arm.model),
        bdi(arm.backend) if arm.backend else "stored answers",
        bdi(", ".join(arm.traits)) if arm.traits else _DASH,
        safe(sampled(arm.sampling)),
        *(f"{count:,}" for count in counts),
        cost,
        *seconds,
    )


def graders(comparison: Comparison) -> Iterator[str]:
    """Graders, and the files that prompts came from."""
    rows = ((bdi(g.name), g.kind, bdi(g.about) if g.about else _DASH) for g in comparison.graders)
    yield from table("Graders", ("Grader", "Score", "Setup"), rows)
    sources = (
        (
            bdi(source.set) if source.set else "the verdict’s",
            bdi(source.path) if source.path else _DASH,
            f"{source.prompts:,}",
            f"<code>{safe(source.sha256)}</code>" if source.sha256 else _DASH,
        )
        for source in comparison.sources
    )
    yield from table("Prompts", ("Set", "File", "Prompts", "SHA-256"), sources, right="llrl")


def run(comparison: Comparison, identity: str) -> Iterator[str]:
    """What makes the run repeatable."""
    facts = {
        "Made": when(comparison.created),
        "Seed": str(comparison.seed),
        "Confidence": f"{comparison.confidence * 100:g} %",
        "Samples a prompt": str(comparison.samples),
        "Comparison": f"<code>{identity}</code>",
    }
    yield '<dl class="facts">'
    yield from (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    yield "</dl>"
