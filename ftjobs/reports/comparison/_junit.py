"""A comparison as JUnit XML, so that a pipeline's page of tests shows what the gate said.

The gate is the one test case: it fails where the gate does, is skipped where the evidence decides
nothing (as NUnit has its inconclusive results counted), and an error where nothing could be
graded.  Skipped is not passed: the exit code of `ftjobs compare` says so.  A row that got worse is
no failure of its own, since some always do; the biggest ones stand in the output.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from ftjobs.evals.result import Comparison, Verdict
from ftjobs.reports.comparison import _numbers as numbers
from ftjobs.reports.comparison import _words as words
from ftjobs.reports.comparison._text import text
from ftjobs.reports.junit import case, document

__all__ = ["junit"]

TAGS = {"pass": "", "fail": "failure", "inconclusive": "skipped"}

COLUMNS = 100
ROWS = 10


def junit(comparison: Comparison, *, suite: str = "ftjobs compare") -> str:
    """A test suite whose one case is the gate, with the text report as its output.

    The numbers stand in the properties: verdict, difference, low, high, p and n.
    """
    return document(
        suite,
        [_case(comparison)],
        started=comparison.created,
        properties=numbers.values(comparison),
        out=text(comparison, width=COLUMNS, rows=ROWS),
        err="\n".join(words.warnings(comparison)),
    )


def _case(comparison: Comparison) -> ET.Element:
    verdict = comparison.verdict
    if verdict is None:
        name, kind, sentence = "comparison", "ungraded", words.ungraded(comparison)
        tag = "error" if sentence else ""
    else:
        tag, name = TAGS[verdict.word], _name(verdict)
        kind, sentence = verdict.gate.rule, verdict.sentence
    return case(name, "ftjobs.compare", outcome=tag, message=sentence, kind=kind, details=sentence)


def _name(verdict: Verdict) -> str:
    """Such as "tuned is better than base on exact", which stays the same from run to run."""
    rule = "is better than" if verdict.gate.rule == "better" else "is no worse than"
    margin = f" by {verdict.gate.margin:g}" if verdict.gate.margin else ""
    return f"{verdict.arm} {rule} {verdict.baseline}{margin} on {verdict.grader}"
