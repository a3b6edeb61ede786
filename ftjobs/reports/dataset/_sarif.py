"""SARIF 2.1.0, the interchange format of static analysis (OASIS, errata 01)."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from ftjobs.data import Report, Rule
from ftjobs.data.rules import Severity
from ftjobs.reports.dataset._rule import repairs
from ftjobs.reports.dataset._words import Roots, errors_first, groups, issues_of, one_line
from ftjobs.schema import Issue

MOST_RESULTS = 25_000
"""Results of a run that GitHub's code scanning takes; with more it refuses the upload."""

_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}

Json = dict[str, Any]


def sarif(
    reports: Sequence[Report],
    *,
    roots: Roots,
    exit_code: int = 0,
    problems: Sequence[str] = (),
    most: int = MOST_RESULTS,
) -> str:
    """One run with a result for each issue, at most `most`, errors before warnings.

    Files below `roots.root` get URIs relative to it, as code scanning wants, other files whole
    ones.  `problems` say why files could not be checked; the run then counts as
    unsuccessful.  What is left out is counted in a notification and in the run's properties.
    """
    issues = errors_first(issues_of(reports))
    kept = issues[:most]
    left_out = len(issues) - len(kept) + sum(max(0, report.truncated) for report in reports)
    rules = [group.rule for group in groups(reports)]
    places = {rule.code: place for place, rule in enumerate(dict.fromkeys(rules))}
    run = {
        "tool": {"driver": _driver(list(dict.fromkeys(rules)))},
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(exit_code, problems, left_out)],
        "artifacts": [_artifact(report, roots) for report in reports],
        "results": _results(kept, places, roots),
        "properties": {"resultsLeftOut": left_out},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)


def _driver(rules: Sequence[Rule]) -> Json:
    number = version("ftjobs")
    return {"name": "ftjobs", "version": number, "rules": [_rule(rule) for rule in rules]}


def _rule(rule: Rule) -> Json:
    ask = f"ftjobs explain {rule.code}"
    return {
        "id": rule.code,
        "shortDescription": {"text": f"{rule.title[0].upper()}{rule.title[1:]}."},
        "fullDescription": {"text": rule.why},
        "help": {
            "text": f"{rule.fix}  {repairs(rule)}  More: {ask}",
            "markdown": f"{rule.why}\n\n```text\n{rule.fix}\n```\n\n{repairs(rule)} More: `{ask}`",
        },
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {"tags": ["dataset"], "problem.severity": _advice(rule.severity)},
    }


def _advice(severity: Severity) -> str:
    """GitHub's word for a severity."""
    return "recommendation" if severity == "info" else severity


def _invocation(exit_code: int, problems: Sequence[str], left_out: int) -> Json:
    notes = [{"level": "error", "message": {"text": one_line(problem)}} for problem in problems]
    if left_out:
        text = f"{left_out:,} results are left out: ftjobs data check --format plain lists all."
        notes.append({"level": "warning", "message": {"text": text}})
    return {
        "executionSuccessful": not problems,
        "exitCode": exit_code,
        "toolExecutionNotifications": notes,
    }


def _artifact(report: Report, roots: Roots) -> Json:
    return {
        "location": {"uri": uri(str(report.path), roots)},
        "length": report.manifest.bytes,
        "hashes": {"sha-256": report.manifest.sha256},
        "roles": ["analysisTarget"],
    }


def _results(issues: Sequence[Issue], rules: dict[str, int], roots: Roots) -> list[Json]:
    """The results.  Equal fingerprints are numbered: code scanning merges what it cannot tell."""
    uris = {path: uri(path, roots) for path in {issue.path for issue in issues}}
    seen: Counter[str] = Counter()
    results = []
    for issue in issues:
        seen[issue.fingerprint] += 1
        result = _result(issue, rules[issue.code], uris[issue.path])
        if issue.fingerprint:
            number = seen[issue.fingerprint]
            result["partialFingerprints"] = {"ftjobs/v1": f"{issue.fingerprint}:{number}"}
        results.append(result)
    return results


def _result(issue: Issue, rule: int, location: str) -> Json:
    place: Json = {"physicalLocation": {"artifactLocation": {"uri": location}}}
    if issue.line is not None:
        region = {"startLine": issue.line}
        if issue.column is not None:
            region["startColumn"] = issue.column
        place["physicalLocation"]["region"] = region
    if issue.pointer:
        place["logicalLocations"] = [{"fullyQualifiedName": issue.pointer, "kind": "value"}]
    return {
        "ruleId": issue.code,
        "ruleIndex": rule,
        "level": _LEVELS[issue.severity],
        "message": {"text": one_line(issue.message)},
        "locations": [place],
    }


def uri(path: str, roots: Roots) -> str:
    """The URI reference of a file, relative to the root if it is below it."""
    inside = roots.within(path)
    if inside is not None:
        return quote(os.fsencode(inside))
    return "file://" + quote(os.fsencode(roots.whole(path).as_posix()))
