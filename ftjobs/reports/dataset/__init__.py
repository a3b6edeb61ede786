"""Reports of the dataset checker → text.  Pure: nothing here prints, reads a file or a setting.

    plain(reports)        one issue a line, for logs and editors: file:line:column: CODE message
    text(reports)         issues grouped by code, for a terminal
    jsonl(reports)        JSON Lines
    sarif(reports, …)     SARIF 2.1.0
    github(reports, …)    workflow commands, which become annotations
    summary(reports)      Markdown, for the summary of a GitHub step
    html(reports)         one self-contained page
    fixes(fix_report)     what a repair did
    explanation(rule)     what a code means

All of them show places and messages, never the text of an example.
"""

from ftjobs.reports.dataset._fix import fixes
from ftjobs.reports.dataset._github import github, summary
from ftjobs.reports.dataset._html import html
from ftjobs.reports.dataset._jsonl import jsonl
from ftjobs.reports.dataset._plain import plain
from ftjobs.reports.dataset._rule import explanation, repairs, severity, visible, weighs
from ftjobs.reports.dataset._sarif import sarif
from ftjobs.reports.dataset._text import text
from ftjobs.reports.dataset._words import Roots, listed, many, verdict
from ftjobs.reports.markdown import SUMMARY_BYTES

__all__ = [
    "SUMMARY_BYTES",
    "Roots",
    "explanation",
    "fixes",
    "github",
    "html",
    "jsonl",
    "listed",
    "many",
    "plain",
    "repairs",
    "sarif",
    "severity",
    "summary",
    "text",
    "verdict",
    "visible",
    "weighs",
]
