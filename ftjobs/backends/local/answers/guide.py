"""Answers of a form: which tokens may come next, so that an answer is JSON of its schema.

llguidance reads the schema and follows the answer; what it cannot promise, it refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

SPACES = r"[ \t\n]{0,20}"
"""White space between tokens of JSON: without a bound, a small model writes nothing else."""

MOST_PATTERNS = 8
"""Patterns in a schema whose parts have to hold together: each may double the time to read it."""
LARGEST_MULTIPLE = 100_000
"""Of `multipleOf`, in units of its last digit.  To read it takes about 12 µs each."""

DIGITS = 20
"""Places before or after the point of a number of which others are multiples."""

_OWN = "x-guidance"  # a key by which a schema could change how it is read


class Guide:
    """Follows one answer."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def copy(self) -> Guide:
        """Another one, at the same place."""
        return Guide(self._matcher.deep_copy())

    def allowed(self, width: int) -> torch.Tensor:
        """Which tokens may come next: of bool, shape (1, width).

        Raises:
            ValueError: none can, or it is too much work to know.
        """
        mask = torch.frombuffer(bytearray(self._matcher.compute_bitmask()), dtype=torch.uint8)
        self._require_sound()
        bits = ((mask.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()
        found = torch.zeros(1, width, dtype=torch.bool)
        known = min(width, len(bits))
        found[0, :known] = bits[:known].bool()
        if not found.any():
            raise ValueError("its tokens cannot write an answer of this response_format")
        return found

    def take(self, token: int) -> None:
        """Follow the answer by one token.  ValueError if it cannot be followed."""
        self._matcher.consume_token(token)
        self._require_sound()

    def _require_sound(self) -> None:
        if self._matcher.is_error():
            raise ValueError(f"response_format: {_line(self._matcher.get_error())}")


def guide(form: Mapping[str, Any], tokenizer: LLTokenizer) -> Guide:
    """What follows an answer of a `response_format`, from its beginning.

    Raises:
        ValueError: its schema is none, or says what cannot be promised; the message names it.
    """
    from llguidance import LLMatcher, LLParserLimits

    schema = form["json_schema"]["schema"] if form["type"] == "json_schema" else {"type": "object"}
    _require_light(schema)
    grammar = LLMatcher.grammar_from_json_schema(
        {key: value for key, value in schema.items() if key != _OWN},
        overrides={"whitespace_pattern": SPACES},
    )
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise ValueError(f"response_format.json_schema.schema: {_line(matcher.get_error())}")
    return Guide(matcher)


_JOINING = frozenset({"allOf", "anyOf", "oneOf", "$ref"})
_NARROWING = frozenset({"pattern", "format", "multipleOf", "properties", "patternProperties"})
_NARROWING |= {"additionalProperties", "items", "prefixItems"}


def _require_light(schema: Mapping[str, Any]) -> None:
    """Refuse what llguidance, which cannot be stopped, would read for minutes, or for ever.

    Raises:
        ValueError: the message says what there is too much of.
    """
    joins, patterns, multiples = False, 0, list[Decimal]()
    nodes: list[Any] = [schema]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            nodes += node.values()
            joining = node.keys() & _JOINING
            parts = node.get("allOf")
            joins |= isinstance(parts, list) and len(parts) > 1
            joins |= bool(joining) and len(joining) + len(node.keys() & _NARROWING) > 1
            patterns += sum(isinstance(node.get(name), str) for name in ("pattern", "format"))
            multiple = node.get("multipleOf")
            if isinstance(multiple, int | float) and multiple and not isinstance(multiple, bool):
                multiples.append(abs(Decimal(str(multiple))))
        elif isinstance(node, list):
            nodes += node
    if joins and patterns > MOST_PATTERNS:
        raise ValueError(
            f"response_format.json_schema.schema: {patterns} patterns, where parts have to hold "
            f"together; the limit is {MOST_PATTERNS}"
        )
    together = [multiples] if joins and multiples else [[each] for each in multiples]
    if any(_steps(each) > LARGEST_MULTIPLE for each in together):
        raise ValueError(
            "response_format.json_schema.schema: multipleOf has too many digits; the limit is "
            f"{LARGEST_MULTIPLE} units of the last one"
        )


def _steps(multiples: Sequence[Decimal]) -> int:
    """The least number of which each is a divisor, in units of the last digit of all."""
    if any(not each.is_finite() or abs(each.adjusted()) > DIGITS for each in multiples):
        return LARGEST_MULTIPLE + 1
    last = min(int(each.normalize().as_tuple().exponent) for each in multiples)
    return math.lcm(*(int(each.scaleb(-last)) for each in multiples))


def _line(text: str) -> str:
    return " ".join(text.split())[:400]
