"""Answers of a form: which tokens may come next, so that an answer is JSON of its schema.

llguidance reads the schema and follows the answer; what it cannot promise, it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

SPACES = r"[ \t\n]{0,20}"
"""White space between tokens of JSON: without a bound, a small model writes nothing else."""

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
    grammar = LLMatcher.grammar_from_json_schema(
        {key: value for key, value in schema.items() if key != _OWN},
        overrides={"whitespace_pattern": SPACES},
    )
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise ValueError(f"response_format.json_schema.schema: {_line(matcher.get_error())}")
    return Guide(matcher)


def _line(text: str) -> str:
    return " ".join(text.split())[:400]
