"""What a code means, in words: for `ftjobs explain`, for SARIF and for the documentation."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from ftjobs.data import TARGETS, Rule, Target
from ftjobs.data.rules import Severity
from ftjobs.reports.cells import wrap
from ftjobs.reports.dataset._words import NARROWEST, WIDEST, listed

_FIXES = {
    "safe": "ftjobs data check FILE --fix OUT may repair it.",
    "unsafe": "ftjobs data check FILE --fix OUT --unsafe-fixes may repair it; look at what it did.",
    None: "Only you can repair it.",
}


def severity(rule: Rule, target: Target) -> Severity:
    """How much a broken rule weighs for a target."""
    return target.too_few if rule.code == "FT502" else target.severity_of(rule.code)


def severities(rule: Rule) -> Mapping[Severity, list[str]]:
    """The targets by how much the rule weighs for them."""
    found: dict[Severity, list[str]] = {}
    for target in TARGETS.values():
        found.setdefault(severity(rule, target), []).append(target.name)
    return found


def weighs(rule: Rule) -> str:
    """The severity in words: one for all, or which target has which."""
    found = severities(rule)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{level} for {listed(names)}" for level, names in sorted(found.items()))


def repairs(rule: Rule) -> str:
    """Who may repair it, in a sentence: what a code has a repair for, not each finding has."""
    return _FIXES[rule.fixable]


def visible(example: str) -> str:
    """An example in which every character can be seen: `<U+FEFF>` for a byte order mark.

    Line ends stay.
    """
    return "".join(
        char if char == "\n" or _seen(char) else f"<U+{ord(char):04X}>" for char in example
    )


def _seen(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ" or char == "\u3000"


def explanation(rule: Rule, *, width: int = 100) -> str:
    """A rule for a terminal of so many columns: severity, why, fix, repair, and an example."""
    width = min(max(width, NARROWEST), WIDEST)
    parts = [("Severity", f"{weighs(rule)}."), ("Why", rule.why), ("Fix", rule.fix)]
    lines = [f"{rule.code}: {rule.title}", ""]
    for name, words in [*parts, ("Repair", repairs(rule))]:
        first, *rest = wrap(words, width - 10)
        lines += [f"{name + ':':<10}{first}", *(" " * 10 + line for line in rest)]
    if rule.example:
        lines += ["", "Example:", *(f"  {line}" for line in visible(rule.example).splitlines())]
    return "\n".join(lines)
