"""Jobs and plans → what pipelines read.  Pure: nothing here prints, reads a file or a setting.

    summary(outcomes)            Markdown for the summary of a GitHub step
    comment(outcomes)            Markdown for one comment that is kept up to date
    plan_comment(plan)           the same for a plan
    workflow_commands(outcomes)  commands for GitHub's runner, which become annotations
    outputs(outcomes)            the lines of GITHUB_OUTPUT
    junit(outcomes)              JUnit XML, one test case a job
    json(outcomes)               one JSON document

Words of services and models are untrusted: each format quotes, cuts and escapes them.
"""

from ftjobs.reports.actions import MOST_ANNOTATIONS
from ftjobs.reports.ci._github import outputs, workflow_commands
from ftjobs.reports.ci._json import json
from ftjobs.reports.ci._junit import junit
from ftjobs.reports.ci._markdown import comment, summary
from ftjobs.reports.ci._outcome import Outcome, Point, Verdict
from ftjobs.reports.ci._plan import plan_comment
from ftjobs.reports.markdown import COMMENT_BYTES, SUMMARY_BYTES

__all__ = [
    "COMMENT_BYTES",
    "MOST_ANNOTATIONS",
    "SUMMARY_BYTES",
    "Outcome",
    "Point",
    "Verdict",
    "comment",
    "json",
    "junit",
    "outputs",
    "plan_comment",
    "summary",
    "workflow_commands",
]
