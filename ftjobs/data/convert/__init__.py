"""Other formats → chat JSONL, with an account of every row.

    report = convert("faq.csv", "train.jsonl")
    report.written, report.dropped_rows

A *reader* gives rows (`separated`, `json_rows`, `tables`; `sources` chooses it), a *shape* makes
an example of a row (`shapes`, `pairs`, `sharegpt`, `chatgpt`), `threads` joins rows that are turns
of one conversation, the checker has the last word on it, and `output` lets the file appear when
it is whole.
"""

from ftjobs.data.convert.converter import FORMATS, convert
from ftjobs.data.convert.report import ConversionReport, Place, Tally

__all__ = ["FORMATS", "ConversionReport", "Place", "Tally", "convert"]
