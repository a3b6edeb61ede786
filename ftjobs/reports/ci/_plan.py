"""A plan as the body of a comment, so that a review sees what merging would start and cost."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from ftjobs.reports.ci._outcome import money
from ftjobs.reports.markdown import COMMENT_BYTES, code, fitting, marker, table
from ftjobs.reports.words import many

if TYPE_CHECKING:
    from ftjobs.jobs.plan import Plan

NOTES = {"error": "❌", "warning": "⚠️", "info": "💡"}


def plan_comment(plan: Plan) -> str:
    """Markdown for a comment about a plan, of at most 65,536 characters.

    Its first line is hidden: `<!-- ftjobs plan KEY -->`.  The key stays the same while data and
    settings change, as long as backend, model, method and suffix are the same, so that a pull
    request has one comment for each job that it plans.
    """
    spec = plan.spec
    keys = [plan.backend, spec.model, spec.method, spec.suffix or ""]
    return "".join(fitting(chain([marker("plan", keys)], _lines(plan)), COMMENT_BYTES))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"### {_headline(plan)}"
    yield ""
    yield from table(("Plan", ""), [(name, code(text)) for name, text in _facts(plan) if text])
    yield ""
    rows = [
        (
            field.removesuffix("_file"),
            code(str(file.path)),
            f"{file.examples:,}",
            _stored(plan, field),
        )
        for field, file in plan.files.items()
    ]
    yield from table(("Data", "File", "Examples", ""), rows, right="llr")
    yield ""
    for note in plan.notes:
        hint = f" {code(note.hint)}" if note.hint else ""
        yield f"* {NOTES[note.level]} {code(note.text)}{hint}"


def _headline(plan: Plan) -> str:
    if plan.errors:
        return f"❌ This job cannot run: {many(len(plan.errors), 'error')}"
    if plan.adopt:
        return f"♻️ Nothing new: {code(plan.adopt)} has the same content"
    return "📋 Applying this plan starts one fine-tuning job"


def _facts(plan: Plan) -> Iterator[tuple[str, str]]:
    from ftjobs.data.cost import dollars  # here: it brings the whole checker along
    from ftjobs.reports.plan import fit_in_words  # as well

    spec = plan.spec
    yield "Backend", plan.backend
    yield "Base model", spec.model
    yield "Method", spec.method
    settings = spec.hyperparameters.given()
    yield "Hyperparameters", ", ".join(f"{name} {value}" for name, value in settings.items())
    yield "Suffix", spec.suffix or ""
    yield "Seed", "" if spec.seed is None else str(spec.seed)
    yield "Cost estimate", "" if plan.cost is None else money(plan.cost)
    yield "Cost limit", "" if plan.max_cost is None else dollars(plan.max_cost)
    yield "Needs", "" if plan.fit is None else fit_in_words(plan.fit)
    yield "Identity", plan.identity


def _stored(plan: Plan, field: str) -> str:
    return "on the service already" if plan.files[field].file_id else "to upload"
