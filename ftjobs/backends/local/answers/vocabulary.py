"""What the tokens of a model are: bytes, and what llguidance needs to know of them."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from ftjobs.backends.local.answers.guide import Guide, guide
from ftjobs.errors import ConfigError

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Vocabulary:
    """The tokens of one tokenizer.

    Args:
        tokenizer: as transformers has it.
        stops: the tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, stops: Collection[int]) -> None:
        self._tokenizer, self._stops = tokenizer, tuple(sorted(stops))

    def told(self, token: int, logprob: float) -> dict[str, Any]:
        """A token and its log-probability as the wire has them.

        `token` is text, with replacement characters for a part of a character; `bytes` are all
        that the token adds to a text, which is nothing for a special one, of which `token` is the
        name.
        """
        content = self.bytes(token)
        text = content.decode(errors="replace") if content else self._name(token)
        return {"token": text, "logprob": logprob, "bytes": list(content)}

    def bytes(self, token: int) -> bytes:
        """The bytes that a token adds to a text."""
        if token in self._special:
            return b""
        if self._known is None:  # sentencepiece, which has signs for its spaces
            return self._name(token).replace("\u2581", " ").encode()
        # A model may have more tokens than its tokenizer knows.
        return self._known.decode_bytes([token]) if token < self._known.vocab_size else b""

    def _name(self, token: int) -> str:
        return str(self._tokenizer.convert_ids_to_tokens(token) or "")

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self._tokenizer.all_special_ids)

    def guide(self, form: Mapping[str, Any]) -> Guide:
        """What lets only answers of a `response_format` be written.

        Raises:
            ValueError: there are none, or this tokenizer is of a kind that cannot be guided.
        """
        if self._known is None:
            raise ValueError("its tokenizer is of a kind that no response_format can guide")
        return guide(form, self._known)

    @cached_property
    def _known(self) -> LLTokenizer | None:
        """The tokens as llguidance reads them; None if it cannot."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        # How texts are cut and filled up is no matter of tokens.
        plain = json.loads(backend.to_str()) | {"padding": None, "truncation": None}
        return _known(json.dumps(plain), self._stops)


@lru_cache(maxsize=8)  # adapters of one base have the same tokens
def _known(tokenizer: str, stops: tuple[int, ...]) -> LLTokenizer | None:
    try:
        from llguidance import LLTokenizer
    except ImportError:
        raise ConfigError(
            "logprobs and response_format need llguidance", hint="pip install 'ftjobs[local]'"
        ) from None
    try:
        return LLTokenizer(tokenizer, eos_token=list(stops), slices=LLTokenizer.json_slices())
    except ValueError:
        return None
