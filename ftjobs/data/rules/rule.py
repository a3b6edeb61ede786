"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
Fixable = Literal["safe", "unsafe"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a code means.

    `fix` is the hint that its issues carry.  `fixable` says whether `data check --fix` repairs it:
    "safe" if the meaning stays, "unsafe" if a human should look (only with `--unsafe-fixes`),
    None if only the author can.  `example` is a line, or what a file begins with, that breaks it.
    """

    code: str
    title: str
    severity: Severity
    why: str
    fix: str
    fixable: Fixable | None = None
    example: str = ""
