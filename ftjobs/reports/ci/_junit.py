"""JUnit XML, one test case a job, so that a pipeline's page of tests shows what was trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from ftjobs.reports.ci._outcome import Outcome
from ftjobs.reports.junit import case, document
from ftjobs.reports.markdown import one_line


def junit(outcomes: Sequence[Outcome], *, suite: str = "ftjobs") -> str:
    """A test suite of these jobs.

    One that failed or was cancelled is a failure with its reason; one that has not ended is
    skipped.  Times are in seconds.
    """
    begun = min((outcome.job.created_at for outcome in outcomes), default=0)
    cases = list(map(_case, outcomes))
    return document(suite, cases, started=begun, out="\n".join(_lines(outcomes)))


def _case(outcome: Outcome) -> ET.Element:
    job = outcome.job
    tag = {"succeeded": "", "unfinished": "skipped"}.get(outcome.verdict, "failure")
    return case(
        " ".join(filter(None, (job.suffix, job.id))),
        f"ftjobs.{job.model}",
        seconds=outcome.seconds,
        outcome=tag,
        message=(tag == "failure" and one_line(outcome.reason)) or outcome.headline,
        kind=(job.error and job.error.code) or outcome.verdict,
        details="\n".join(_story(outcome)),
    )


def _story(outcome: Outcome) -> Iterator[str]:
    yield outcome.reason or outcome.headline
    if known := outcome.failure:
        yield known.cause
        yield known.remedy


def _lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        yield from (f"{name}: {one_line(text)}" for name, text in outcome.facts() if text)
        yield from (f"Checkpoint: {p.step} {one_line(p.model)}" for p in outcome.points)
