"""JUnit XML: what all of our suites share.

There is no one standard.  This keeps to what Jenkins' schema (junit-10.xsd), the older Windy Road
one and GitLab's reader have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree as ET

from ftjobs.reports.cells import clean
from ftjobs.reports.words import when

__all__ = ["case", "document"]

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, escaped or not (its production 2, Char)."""


def case(
    name: str,
    classname: str,
    *,
    seconds: float = 0.0,
    outcome: str = "",
    message: str = "",
    kind: str = "",
    details: str = "",
) -> ET.Element:
    """A test case.

    Args:
        name: what is tested; the same from run to run, so that pipelines know it again.
        classname: what it is listed under.
        seconds: how long it took.
        outcome: "failure", "error" or "skipped"; "" where it passed.
        message: why, in a line.
        kind: of failure or error.
        details: why, in full.
    """
    names = {"name": _text(name), "classname": _text(classname), "time": f"{seconds:.3f}"}
    made = ET.Element("testcase", names)
    if outcome:
        why = ET.SubElement(made, outcome, {"message": _text(message)})
        if outcome != "skipped":
            why.set("type", _text(kind))
            why.text = _text(details)
    return made


def document(
    name: str,
    cases: Sequence[ET.Element],
    *,
    started: int,
    properties: Iterable[tuple[str, str]] = (),
    out: str = "",
    err: str = "",
) -> str:
    """A test suite of these cases, which took their time one after the other.

    Args:
        name: the suite's.
        cases: made by `case`.
        started: when, in Unix seconds.
        properties: names and values.
        out: what was printed.
        err: what was warned of.
    """
    root = ET.Element("testsuites")
    attributes = {
        "name": _text(name),
        "package": "ftjobs",
        "id": "0",
        "hostname": "localhost",
        "timestamp": _timestamp(started),
        "time": f"{sum(float(each.attrib['time']) for each in cases):.3f}",
        "tests": str(len(cases)),
    }
    for counted, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        attributes[counted] = str(sum(each.find(tag) is not None for each in cases))
    suite = ET.SubElement(root, "testsuite", attributes)
    given = ET.SubElement(suite, "properties")
    for key, value in properties:
        ET.SubElement(given, "property", {"name": key, "value": _text(value)})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _text(out)
    ET.SubElement(suite, "system-err").text = _text(err)
    ET.indent(root)
    return _HEAD + ET.tostring(root, encoding="unicode") + "\n"


def _timestamp(seconds: int) -> str:
    """ISO 8601 without a zone, as the schemas want it; a clock that is wrong shows the epoch."""
    text = when(seconds).removesuffix("Z")
    return text if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}", text) else _timestamp(0)


def _text(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", clean(text))
