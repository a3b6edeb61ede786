"""JUnit XML, one test case a job, so that a pipeline's page of tests shows what was trained.

There is no one standard.  This keeps to what Jenkins' schema (junit-10.xsd), the older Windy Road
one and GitLab's reader have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from ftjobs.reports.ci._outcome import Outcome
from ftjobs.reports.markdown import one_line
from ftjobs.reports.words import when

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not (its production 2, Char)."""


def junit(outcomes: Sequence[Outcome], *, suite: str = "ftjobs") -> str:
    """A test suite of these jobs.

    One that failed or was cancelled is a failure with its reason; one that has not ended is
    skipped.  Times are in seconds.
    """
    root = ET.Element("testsuites")
    made = ET.SubElement(root, "testsuite", _counts(outcomes, suite))
    ET.SubElement(made, "properties")
    made.extend(map(_case, outcomes))
    ET.SubElement(made, "system-out").text = _text("\n".join(_lines(outcomes)))
    ET.SubElement(made, "system-err")
    ET.indent(root)
    return HEAD + ET.tostring(root, encoding="unicode") + "\n"


def _counts(outcomes: Sequence[Outcome], suite: str) -> dict[str, str]:
    verdicts = [outcome.verdict for outcome in outcomes]
    begun = min((outcome.job.created_at for outcome in outcomes), default=0)
    return {
        "name": _text(suite),
        "package": "ftjobs",
        "id": "0",
        "hostname": "localhost",
        "timestamp": _timestamp(begun),
        "time": f"{sum(outcome.seconds for outcome in outcomes):.3f}",
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict in ("failed", "cancelled") for verdict in verdicts)),
        "errors": "0",
        "skipped": str(verdicts.count("unfinished")),
    }


def _timestamp(seconds: int) -> str:
    """ISO 8601 without a zone, as the schemas want it; a clock that is wrong shows the epoch."""
    text = when(seconds).removesuffix("Z")
    return text if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}", text) else _timestamp(0)


def _case(outcome: Outcome) -> ET.Element:
    job = outcome.job
    case = ET.Element(
        "testcase",
        {
            "name": _text(" ".join(filter(None, (job.suffix, job.id)))),
            "classname": _text(f"ftjobs.{job.model}"),
            "time": f"{outcome.seconds:.3f}",
        },
    )
    headline = _text(outcome.headline)
    if outcome.verdict == "unfinished":
        ET.SubElement(case, "skipped", {"message": headline})
    elif outcome.verdict != "succeeded":
        message = _text(outcome.reason) or headline
        kind = _text((job.error and job.error.code) or outcome.verdict)
        failure = ET.SubElement(case, "failure", {"message": message, "type": kind})
        failure.text = _text("\n".join(_story(outcome)))
    return case


def _story(outcome: Outcome) -> Iterator[str]:
    yield outcome.reason or outcome.headline
    if known := outcome.failure:
        yield known.cause
        yield known.remedy


def _lines(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        yield from (f"{name}: {one_line(text)}" for name, text in outcome.facts() if text)
        yield from (f"Checkpoint: {p.step} {one_line(p.model)}" for p in outcome.points)


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", "\n".join(map(one_line, text.split("\n"))))
