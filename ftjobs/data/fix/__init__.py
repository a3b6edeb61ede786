"""`fix`: a file → a new one in which everything is repaired that can be, and what was done.

    report = fix("train.jsonl", "fixed.jsonl")                # safe: the meaning stays
    report = fix("train.jsonl", "fixed.jsonl", unsafe=True)   # a human should look at the result
    report.repaired, report.dropped, report.remaining.ok

`layout` makes lines of a file, `lines` repairs one until nothing more changes, `table` says which
code is repaired by which function (`syntax`, `messages`), `run` writes the new file.
"""

from ftjobs.data.fix.report import Drop, FixReport, Patch
from ftjobs.data.fix.run import fix
from ftjobs.data.fix.table import FIXABLE

__all__ = ["FIXABLE", "Drop", "FixReport", "Patch", "fix"]
