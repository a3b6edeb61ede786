"""Comparisons → text.  Pure: nothing here prints, reads a file or a setting.

    text(comparison)               for a terminal: verdict, table, the rows that got worse
    markdown(comparison)           for one comment on a pull request that is kept up to date
    summary(comparison)            Markdown for the summary of a GitHub step
    workflow_commands(comparison)  commands for GitHub's runner, which become annotations
    outputs(comparison)            the lines of GITHUB_OUTPUT
    junit(comparison)              JUnit XML, the gate as its test case
    json(comparison)               the document, which `Comparison.model_validate_json` reads
    objects(comparison)            the same as objects for JSON Lines, row by row
    html(comparison)               one self-contained page
    diff(old, new)                 what changed between two answers

What models say is untrusted: each format quotes, cuts and escapes it.
"""

from ftjobs.evals.result import Comparison
from ftjobs.reports.comparison._diff import diff
from ftjobs.reports.comparison._github import outputs, workflow_commands
from ftjobs.reports.comparison._json import json, objects
from ftjobs.reports.comparison._junit import junit
from ftjobs.reports.comparison._markdown import markdown, summary
from ftjobs.reports.comparison._rows import Style
from ftjobs.reports.comparison._text import text

__all__ = [
    "Style",
    "diff",
    "html",
    "json",
    "junit",
    "markdown",
    "objects",
    "outputs",
    "summary",
    "text",
    "workflow_commands",
]


def html(comparison: Comparison) -> str:
    """One self-contained page; see `ftjobs.reports.comparison._html`."""
    from ftjobs.reports.comparison._html import html as page

    return page(comparison)
