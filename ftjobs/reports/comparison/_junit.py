"""A comparison as JUnit XML, so that a pipeline's page of tests shows what the gate said.

The gate is the one test case: it fails where the gate does, is skipped where the evidence decides
nothing (as NUnit has its inconclusive results counted), and an error where nothing could be
graded.  Skipped is not passed: the exit code of `ftjobs compare` says so.  A row that got worse is
no failure of its own, since some always do; the biggest ones stand in the output.

There is no one standard.  This keeps to what Jenkins' schema (junit-10.xsd), the older Windy Road
one and GitLab's reader have in common.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ftjobs.evals.result import Comparison, Verdict
from ftjobs.reports.ci._junit import HEAD, _text, _timestamp
from ftjobs.reports.comparison import _numbers as numbers
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._text import text

__all__ = ["junit"]

TAGS = {"pass": "", "fail": "failure", "inconclusive": "skipped", "": "error"}

COLUMNS = 100
ROWS = 10


def junit(comparison: Comparison, *, suite: str = "ftjobs compare") -> str:
    """A test suite whose one case is the gate, with the text report as its output.

    The numbers stand in the properties: verdict, difference, low, high, p and n.
    """
    root = ET.Element("testsuites")
    made = ET.SubElement(root, "testsuite", _counts(comparison, suite))
    properties = ET.SubElement(made, "properties")
    for name, value in numbers.values(comparison):
        ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
    made.append(_case(comparison))
    report = text(comparison, width=COLUMNS, rows=ROWS)
    ET.SubElement(made, "system-out").text = _text(report)
    ET.SubElement(made, "system-err").text = _text("\n".join(words.warnings(comparison)))
    ET.indent(root)
    return HEAD + ET.tostring(root, encoding="unicode") + "\n"


def _counts(comparison: Comparison, suite: str) -> dict[str, str]:
    tag = _tag(comparison)
    return {
        "name": _text(suite),
        "package": "ftjobs",
        "id": "0",
        "hostname": "localhost",
        "timestamp": _timestamp(comparison.created),
        "time": "0.000",
        "tests": "1",
        "failures": str(int(tag == "failure")),
        "errors": str(int(tag == "error")),
        "skipped": str(int(tag == "skipped")),
    }


def _tag(comparison: Comparison) -> str:
    return TAGS["" if comparison.verdict is None else comparison.verdict.word]


def _case(comparison: Comparison) -> ET.Element:
    verdict = comparison.verdict
    name = "comparison" if verdict is None else _name(verdict)
    case = ET.Element(
        "testcase", {"name": _text(name), "classname": "ftjobs.compare", "time": "0.000"}
    )
    sentence = words.NO_VERDICT if verdict is None else verdict.sentence
    tag = _tag(comparison)
    if tag == "skipped":
        ET.SubElement(case, tag, {"message": _text(sentence)})
    elif tag:
        kind = "ungraded" if verdict is None else verdict.gate.rule
        failure = ET.SubElement(case, tag, {"message": _text(sentence), "type": kind})
        failure.text = _text(sentence)
    return case


def _name(verdict: Verdict) -> str:
    """Such as "tuned is better than base on exact", which stays the same from run to run."""
    rule = "is better than" if verdict.gate.rule == "better" else "is no worse than"
    margin = f" by {verdict.gate.margin:g}" if verdict.gate.margin else ""
    return f"{verdict.arm} {rule} {verdict.baseline}{margin} on {verdict.grader}"
