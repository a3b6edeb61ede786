"""Every rule of the checker: the source of `explain` and of the docs.

Codes are stable: a code never changes its meaning and is never given out again.  The hundreds
say what is looked at, and each has a module:

    FT1xx encoding       the bytes              FT6xx content   what the texts and images hold
    FT2xx syntax         JSON                   FT7xx private   secrets and personal data
    FT3xx shape          the shape of a row     FT8xx overlap   rows against rows, file against file
    FT4xx conversation   who says what          FT9xx tokens    length and truncation
    FT5xx files          the file as a whole
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from ftjobs.data.rules import (
    content,
    conversation,
    encoding,
    files,
    overlap,
    private,
    shape,
    syntax,
    tokens,
)
from ftjobs.data.rules.rule import Fixable, Rule, Severity
from ftjobs.errors import ConfigError

__all__ = ["RULES", "Fixable", "Rule", "Severity", "explain"]

_MODULES = (encoding, syntax, shape, conversation, files, content, private, overlap, tokens)

RULES: Mapping[str, Rule] = MappingProxyType(
    {rule.code: rule for module in _MODULES for rule in module.TABLE}
)
"""Every rule by its code, in the order of the codes."""


def explain(code: str) -> Rule:
    """The rule of a code, upper or lower case.

    Raises:
        ConfigError: there is no such code.
    """
    rule = RULES.get(code.upper())
    if rule is None:
        near = difflib.get_close_matches(code.upper(), RULES, n=3)
        ends = f"Codes run from {next(iter(RULES))} to {next(reversed(list(RULES)))}."
        hint = f"Did you mean {' or '.join(near)}?" if near else ends
        raise ConfigError(f"unknown code {code[:20]!r}", hint=hint)
    return rule
