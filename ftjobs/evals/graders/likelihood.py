"""Graders of how a model foresees the expected answer, whatever it answers itself.

They need a backend that `Foresees`, such as local.  The model is shown what the arm is sent for
the prompt, and then the expected answer.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from ftjobs.backends.base import Backend, Foresees, Likelihood
from ftjobs.errors import BackendError, ConfigError
from ftjobs.evals.answers import prompt_id
from ftjobs.evals.arms import Ask
from ftjobs.evals.graders.base import Item
from ftjobs.evals.result import Mark
from ftjobs.schema import ChatMessage

__all__ = ["Foresight", "perplexity", "token_accuracy"]

Found = Likelihood | BackendError | ConfigError
_Key = tuple[str, str]
"""A model, and the conversation's `prompt_id`."""

_LOCK = threading.Lock()
_KNOWN: WeakKeyDictionary[Backend, dict[_Key, Likelihood]] = WeakKeyDictionary()
"""What backends have foreseen, so that two graders of the same answers compute them once."""


def perplexity() -> Foresight:
    """The mean log-likelihood of a token of the expected answer, in nats: 0 is certain.

    More is better, and differences of it are differences of -ln(perplexity); the note says the
    perplexity itself, which is exp(-score).  Models with other tokenizers cannot be compared by it.
    """
    return Foresight("perplexity", _log_likelihood, "mean log-likelihood of a token, in nats")


def token_accuracy() -> Foresight:
    """The share of the expected answer's tokens that were the model's likeliest, from 0 to 1.

    Each is predicted from those expected before it, as in training (`valid_mean_token_accuracy`).
    """
    return Foresight("token-accuracy", _accuracy, "share of expected tokens that are likeliest")


def _log_likelihood(found: Likelihood) -> Mark:
    mean = found.loss / found.tokens
    shown = f"{math.exp(mean):.3g}" if mean < 700 else "beyond all numbers"
    return Mark(score=-mean, note=f"perplexity {shown}")


def _accuracy(found: Likelihood) -> Mark:
    note = f"{found.correct:,} of {found.tokens:,} tokens"
    return Mark(score=found.correct / found.tokens, note=note)


@dataclass(frozen=True, slots=True)
class Foresight:
    """A grader by teacher-forced likelihood; see `perplexity` and `token_accuracy`."""

    name: str
    score: Callable[[Likelihood], Mark]
    about: str = ""
    kind: Literal["binary", "continuous"] = "continuous"

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:  # noqa: ARG002 - see backend
        """A mark for each item; answers do not count, so those of one prompt and arm are equal."""
        turns = [_expected_turns(item) for item in items]
        found: dict[tuple[int, _Key], Found] = {}
        for backend, conversations in _by_backend(items, turns).values():
            for key, each in _foreseen(backend, conversations).items():
                found[id(backend), key] = each
        return [self._mark(item, each, found) for item, each in zip(items, turns, strict=True)]

    def _mark(self, item: Item, turns: _Turns, found: dict[tuple[int, _Key], Found]) -> Mark:
        if isinstance(turns, str):
            return Mark(score=None, note=turns)
        known = found[id(item.arm.backend), _key(item, turns)]
        if not isinstance(known, Likelihood):
            return Mark(score=None, note=known.message)
        if not known.tokens or not math.isfinite(known.loss):  # a mark holds finite scores alone
            return Mark(score=None, note="the model gives no likelihood that is a number")
        return self.score(known)


_Turns = tuple[ChatMessage, ...] | str
"""A conversation, or why there is none."""


def _expected_turns(item: Item) -> _Turns:
    if item.arm.backend is None:
        return "the arm's answers are stored: there is no model to ask"
    if not isinstance(item.arm.backend, Foresees):
        return f"{item.arm.backend.name} cannot say how likely an answer is"
    if item.prompt.expected is None:
        return "no expected answer"
    return (
        *item.arm.messages(item.prompt),
        ChatMessage(role="assistant", content=item.prompt.expected),
    )


def _key(item: Item, turns: tuple[ChatMessage, ...]) -> _Key:
    return item.arm.model, prompt_id(turns)


_Conversations = dict[_Key, tuple[ChatMessage, ...]]


def _by_backend(
    items: Sequence[Item], turns: Sequence[_Turns]
) -> dict[int, tuple[Backend, _Conversations]]:
    groups: dict[int, tuple[Backend, _Conversations]] = {}
    for item, each in zip(items, turns, strict=True):
        if item.arm.backend is not None and not isinstance(each, str):
            _, wanted = groups.setdefault(id(item.arm.backend), (item.arm.backend, {}))
            wanted[_key(item, each)] = each
    return groups


def _foreseen(backend: Backend, wanted: _Conversations) -> dict[_Key, Found]:
    """What the backend says of each conversation, model by model; what failed is not kept."""
    with _LOCK:
        known = _known(backend)
        found: dict[_Key, Found] = {key: known[key] for key in wanted if key in known}
        missing = [key for key in wanted if key not in known]
        for model in dict.fromkeys(model for model, _ in missing):
            keys = [key for key in missing if key[0] == model]
            came = _likelihoods(backend, model, [wanted[key] for key in keys])
            found.update(zip(keys, came, strict=True))
        known.update({key: each for key, each in found.items() if isinstance(each, Likelihood)})
    return found


def _likelihoods(
    backend: Backend, model: str, conversations: Sequence[Sequence[ChatMessage]]
) -> Iterator[Found]:
    assert isinstance(backend, Foresees)  # noqa: S101 - others have no conversations
    return backend.likelihoods(model, conversations)


def _known(backend: Backend) -> dict[_Key, Likelihood]:
    with suppress(TypeError):  # a backend that cannot be a weak key is asked again
        return _KNOWN.setdefault(backend, {})
    return {}
