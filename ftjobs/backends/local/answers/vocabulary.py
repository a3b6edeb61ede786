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

        `token` is text, with replacement characters for a part of a character; `bytes` are all.
        """
        content = self.bytes(token)
        text = content.decode(errors="replace")
        return {"token": text, "logprob": logprob, "bytes": list(content)}

    def bytes(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        if self._known is None:
            return str(self._tokenizer.decode([token])).encode()
        return self._known.decode_bytes([token])

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
