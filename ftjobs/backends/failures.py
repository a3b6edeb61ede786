"""Known error codes of jobs and requests: what each means, and what helps.

The table is data, `failures.toml`, with the source of every entry.  Codes are an open set: one
that is not in the table is shown as the service said it, with the request id for its support.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from ftjobs.errors import ConfigError

__all__ = ["Coded", "Failure", "explain_failure", "failure_of", "failures", "hint", "named"]

LONGEST_MESSAGE = 2_000
"""Characters of a message that are looked at."""


class Coded(Protocol):
    """What carries a service's words: a `JobError` or a `BackendError`."""

    @property
    def code(self) -> str | None:
        """The service's word."""
        ...

    @property
    def message(self) -> str | None:
        """Its sentence."""
        ...


class Failure(BaseModel):
    """What a code means.

    Attributes:
        code: the word in `error.code`, or a status that stands for one.
        title: what is wrong, in a few words.
        cause: how it comes about, in Markdown.
        remedy: what to do, in Markdown.
        where: whether a request is refused with it, a job ends with it, or a local job does.
        said_by: who uses the word.
        mark: how well it is known: "D" from the vendor's documentation, "T" from a third party,
            "I" inferred, "V" verified in ftjobs itself.
        source: where that is from.
        says: regular expressions of messages that mean this under a generic code.
        generic: whether the code alone says little, so that the message is looked at first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    title: str
    cause: str
    remedy: str
    where: Literal["request", "job", "local"]
    said_by: str
    mark: Literal["D", "T", "I", "V"]
    source: str
    says: tuple[str, ...] = ()
    generic: bool = False


@lru_cache(maxsize=1)
def failures() -> Mapping[str, Failure]:
    """Every known failure by its code, in the table's order."""
    text = files("ftjobs.backends").joinpath("failures.toml").read_text("utf-8")
    entries = (Failure.model_validate(entry) for entry in tomllib.loads(text)["failure"])
    return MappingProxyType({entry.code: entry for entry in entries})


def explain_failure(code: str | None, message: str | None = None) -> Failure | None:
    """What a service's code means; None if nobody knows.

    Args:
        code: the service's word, in any case; None where it gave none.
        message: its sentence.  It decides only where the code is missing or generic, as
            `server_error` is: some services put the real reason into words alone.
    """
    known = _by_code(code)
    if known is None and code:
        return None
    if known is None or known.generic:
        return _by_message(message or "") or known
    return known


def failure_of(error: Coded | None) -> Failure | None:
    """What a job's or a request's error means; None if there is none, or nobody knows."""
    return None if error is None else explain_failure(error.code, error.message)


def hint(error: Coded | None) -> str:
    """What to say below an error: cause and remedy, or else the service's own words and id.

    The text may quote the service: it is untrusted.  It is "" where nothing is worth saying.
    """
    if error is None:
        return ""
    known = failure_of(error)
    lines = [f"{known.cause} {known.remedy}"] if known else []
    if not known and error.code:
        lines.append(f"The service's code is {error.code}.")
    request_id = getattr(error, "request_id", None)
    if request_id and (known is None or known.generic):
        lines.append(f"For the service's support: request {request_id}")
    return "\n".join(lines)


def named(code: str, also: Iterable[str] = ()) -> Failure:
    """The failure of a code that a user typed.

    Args:
        code: the code, in any case.
        also: other words that may have been meant, for the hint.

    Raises:
        ConfigError: there is no such code; the hint names those close to it.
    """
    if known := _by_code(code):
        return known
    words = {word.lower(): word for word in (*failures(), *also)}
    typed = code.strip().lower()
    begun = [word for word in words if typed and word.startswith(typed)]
    close = (begun or difflib.get_close_matches(typed, words))[:3]
    suggestion = " or ".join(words[word] for word in close)
    raise ConfigError(
        f"unknown code {code[:40]!r}",
        hint=f"Did you mean {suggestion}?" if close else "ftjobs explain lists all of them.",
    )


@lru_cache(maxsize=1)
def _codes() -> Mapping[str, Failure]:
    return {code.lower(): failure for code, failure in failures().items()}


def _by_code(code: str | None) -> Failure | None:
    return _codes().get((code or "").strip().lower())


@lru_cache(maxsize=1)
def _sayings() -> Sequence[tuple[re.Pattern[str], Failure]]:
    return [
        (re.compile("|".join(failure.says), re.IGNORECASE), failure)
        for failure in failures().values()
        if failure.says
    ]


def _by_message(message: str) -> Failure | None:
    text = message[:LONGEST_MESSAGE]
    return next((failure for pattern, failure in _sayings() if pattern.search(text)), None)
