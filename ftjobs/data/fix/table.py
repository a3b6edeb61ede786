"""Which codes are repaired, how, and whether a human should look: the one place to add a repair."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from ftjobs.data.fix import messages, syntax, texts
from ftjobs.data.fix.edits import Fix, Row
from ftjobs.data.rules import Fixable
from ftjobs.data.scan import Finding
from ftjobs.data.targets import Target

Fixer = Callable[[Row, Finding], Fix | None]


class Repair(NamedTuple):
    """How the findings of a code are repaired; `make` gives None for one that it cannot repair.

    `make` is None where the repair is not one of a line: `layout` and `run` make it.
    """

    fixable: Fixable
    make: Fixer | None = None


def _safe(make: Fixer | None = None) -> Repair:
    return Repair("safe", make)


def _unsafe(make: Fixer | None = None) -> Repair:
    return Repair("unsafe", make)


REPAIRS: Mapping[str, tuple[Repair, ...]] = MappingProxyType(
    {
        "FT101": (_safe(),),
        "FT102": (_safe(syntax.marks),),
        "FT103": (_safe(),),
        "FT107": (_safe(),),
        "FT108": (_unsafe(syntax.half_pairs),),
        "FT201": (_safe(syntax.python_words),),
        "FT202": (_safe(syntax.comma),),
        "FT203": (_safe(syntax.two_values),),
        "FT205": (_safe(syntax.same_twice), _unsafe(syntax.last_of_two)),
        "FT206": (_unsafe(syntax.not_finite),),
        "FT207": (_safe(syntax.control),),
        "FT211": (_safe(),),
        "FT212": (_safe(),),
        "FT306": (_safe(messages.role_case),),
        "FT307": (_unsafe(messages.new_role),),
        "FT310": (_safe(messages.left_out),),
        "FT311": (_unsafe(messages.new_calls),),
        "FT401": (_unsafe(messages.until_assistant),),
        "FT403": (_unsafe(messages.left_out),),
        "FT404": (_safe(messages.weight),),
        "FT409": (_unsafe(messages.joined),),
        "FT413": (_safe(messages.dumped),),
        "FT414": (_unsafe(messages.no_arguments),),
        "FT416": (_unsafe(messages.system_first),),
        "FT423": (_unsafe(messages.equal_pair),),
        "FT603": (_unsafe(texts.unseen),),
        "FT604": (_unsafe(texts.unseen),),
        "FT605": (_unsafe(texts.unseen),),
        "FT701": (_unsafe(texts.redacted),),
        "FT702": (_unsafe(texts.redacted),),
        "FT703": (_unsafe(texts.redacted),),
        "FT704": (_unsafe(texts.redacted),),
        "FT705": (_unsafe(texts.redacted),),
        "FT711": (_unsafe(texts.redacted),),
        "FT712": (_unsafe(texts.redacted),),
        "FT713": (_unsafe(texts.redacted),),
        "FT714": (_unsafe(texts.redacted),),
        "FT715": (_unsafe(texts.redacted),),
        "FT801": (_unsafe(),),
    }
)
"""The repairs of every code that has one; the first that can be made is made."""

FIXABLE: Mapping[str, Fixable] = MappingProxyType(
    {code: repairs[0].fixable for code, repairs in REPAIRS.items()}
)
"""What `Rule.fixable` says: "safe" where at least some findings of a code have a safe repair."""


class Mode(NamedTuple):
    """What is repaired: findings of `codes`, with `unsafe` also what a human should look at."""

    target: Target
    codes: Set[str]
    unsafe: bool

    def drops(self, code: str) -> bool:
        """Whether a row goes that still has a finding of this code."""
        return self.unsafe and code in self.codes and self.target.severity_of(code) == "error"

    def fix(self, row: Row, finding: Finding) -> Fix | None:
        """The repair of a finding, None if it has none that may be made."""
        for repair in REPAIRS.get(finding.code, ()) if finding.code in self.codes else ():
            if repair.make is not None and (self.unsafe or repair.fixable == "safe"):
                fix = repair.make(row, finding)
                if fix is not None:
                    return fix
        return None
