"""A plan → text for people.  Pure: nothing here prints, reads or knows a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftjobs.backends.base import Fit
from ftjobs.data.cost import Price, dollars
from ftjobs.jobs.budget import Estimate, bound
from ftjobs.jobs.fit import gigabytes
from ftjobs.jobs.plan import Plan, PlannedFile
from ftjobs.jobs.preflight import Note
from ftjobs.reports.cells import clean, wrap

__all__ = ["text"]


def text(plan: Plan, *, width: int = 100) -> str:
    """What a submission would do, and what it would cost, in lines of about `width` columns."""
    facts = [*_job(plan), *_files(plan), *_money(plan)]
    facts += [("needs", fit_in_words(plan.fit))] if plan.fit else []
    return "\n".join(
        [
            f"Plan for {_line(plan.backend)}",
            "",
            *_pairs(facts, width),
            *_notes(plan.notes, width),
            "",
            *wrap(_line(outcome(plan)), width),
        ]
    )


def outcome(plan: Plan) -> str:
    """What would happen, in a sentence."""
    if plan.adopt is not None:
        return f"Would adopt job {plan.adopt}, which has this content: nothing sent, nothing paid."
    if plan.errors:
        return f"Nothing would be sent: {_count(len(plan.errors), 'error')} to put right first."
    new = [file for file in plan.files.values() if file.file_id is None]
    size = sum(file.bytes for file in new)
    sent = f"upload {_count(len(new), 'file')} ({size:,} bytes) and create" if new else "create"
    return f"Would {sent} a job on {plan.backend}."


def cost_in_words(cost: Estimate, max_cost: float | None = None) -> str:
    """What a job is expected to cost, at most, and may."""
    if cost.local:
        return "no money: it runs on this machine"
    limit = "" if max_cost is None else f" (limit {dollars(max_cost)})"
    if cost.usd is None or cost.most_usd is None:
        return f"not known: {cost.unknown}{limit}"
    if cost.margin == 1.0:
        return f"{dollars(cost.usd)}{limit}"
    return f"{dollars(cost.usd)} expected, {bound(cost.most_usd)} at most{limit}"


def fit_in_words(fit: Fit) -> str:
    """The memory and time that a job takes, and where."""
    memory = f"about {gigabytes(fit.bytes)}"
    if fit.free_bytes is not None:
        memory += f" of {gigabytes(fit.free_bytes)} that are free"
    place = f"on {fit.device} in {fit.dtype}"
    if fit.seconds is None:
        return f"{memory}, {place}; once ftjobs doctor has run, the time is known too"
    return f"{memory}, about {duration(fit.seconds)} {place} (by {fit.source})"


def duration(seconds: float) -> str:
    """A time for people, in the unit that suits it."""
    for size, unit, digits in ((86_400, "days", 1), (3_600, "h", 1), (60, "min", 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


# --- the parts ----------------------------------------------------------------------------------


def _job(plan: Plan) -> Iterator[tuple[str, str]]:
    spec = plan.spec
    chosen = spec.hyperparameters.model_dump(exclude_none=True)
    yield "model", spec.model
    yield "method", spec.method
    yield "settings", ", ".join(f"{k} {v}" for k, v in chosen.items()) or "automatic"
    yield "suffix", spec.suffix or ""
    yield "seed", "" if spec.seed is None else str(spec.seed)
    yield "metadata", ", ".join(f"{key}={value}" for key, value in spec.metadata.items())
    yield "integrations", ", ".join(each["type"] for each in spec.integrations)
    yield "identity", plan.identity


def _files(plan: Plan) -> Iterator[tuple[str, str]]:
    for field, file in plan.files.items():
        yield field.removesuffix("_file"), _file(file, is_adopted=plan.adopt is not None)


def _file(file: PlannedFile, *, is_adopted: bool) -> str:
    what = f"{file.path}: {_count(file.examples, 'example')}, {file.bytes:,} bytes"
    if is_adopted:
        return what
    return f"{what}, to upload" if file.file_id is None else f"{what}, there as {file.file_id}"


def _money(plan: Plan) -> Iterator[tuple[str, str]]:
    cost = plan.cost
    if cost is None:
        return
    sign = "" if cost.exact else "about "
    rule = "" if cost.epochs_given else " (automatic)"
    epochs = _count(cost.epochs, "epoch")
    yield "tokens", f"{sign}{cost.tokens:,} × {epochs}{rule} = {cost.billed_tokens:,}"
    if cost.margin > 1:
        yield "", f"at most {round(cost.billed_tokens * cost.margin):,}, as they {_why(cost, plan)}"
    yield "", cost.counting
    yield "cost", cost_in_words(cost, plan.max_cost)
    yield "price", f"the estimate of {cost.said_by} itself" if cost.said_by else _price(cost.price)


def _why(cost: Estimate, plan: Plan) -> str:
    """Why there may be more tokens than expected."""
    reasons = [] if cost.exact else ["are estimated, not counted"]
    if plan.spec.method == "dpo":
        reasons.append("may be billed once for either output")
    return " and ".join(reasons)


def _price(price: Price | None) -> str:
    if price is None:
        return ""
    note = f"; {price.note}" if price.note else ""
    return (
        f"{price.service}, {dollars(price.usd_per_million_tokens)} for a million tokens, as of "
        f"{price.date} ({price.source}{note})"
    )


def _notes(notes: Sequence[Note], width: int) -> Iterator[str]:
    """The notes, the gravest first."""
    ranks = ("error", "warning", "info")
    for note in sorted(notes, key=lambda note: ranks.index(note.level)):
        first, *rest = wrap(_line(f"{note.level}: {note.text}"), max(20, width - 4))
        yield from ("", f"  {first}", *(f"    {line}" for line in rest))
        if note.hint:
            yield from (f"    {line}" for line in wrap(_line(note.hint), max(20, width - 4)))


# --- words --------------------------------------------------------------------------------------


def _pairs(rows: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """`name  value` lines, long values wrapped; what has no value is left out."""
    given = [(name, value) for name, value in rows if value]
    longest = max(len(name) for name, _ in given)
    for name, value in given:
        first, *rest = wrap(_line(value), max(20, width - longest - 4))
        yield f"  {name:<{longest}}  {first}"
        yield from (f"  {'':<{longest}}  {line}" for line in rest)


def _count(many: int, noun: str) -> str:
    return f"{many:,} {noun}" + ("" if many == 1 else "s")


def _line(value: str) -> str:
    return " ".join(clean(value).split("\n"))
