"""Distill: stored answers → a training file for another model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ftjobs.data import check
from ftjobs.disk import stored_by, written
from ftjobs.errors import ConfigError
from ftjobs.evals.answers import StoredAnswer

__all__ = ["distill", "require_replaceable", "training_row"]

WHOLE = frozenset({"stop", "tool_calls", "function_call", None})
"""Reasons to end of an answer that is all that the model had to say."""


def distill(answers: Iterable[StoredAnswer], out: Path) -> tuple[int, Mapping[str, int]]:
    """Write a chat dataset: each prompt with its answer as the assistant's turn.

    Left out are answers that were cut or filtered, that are empty, that were given to the same
    prompt before, and rows in which `ftjobs data check` finds an error.

    Returns:
        The number of rows, and how many answers were left out, by the reason in words.

    Raises:
        FtjobsError: `out` cannot be written.
    """
    left_out: Counter[str] = Counter()
    draft = out.with_name(f"{out.name}.draft")
    try:
        with written(draft) as file:
            for row in _rows(answers, left_out):
                file.write(row)
        bad = {
            issue.line for issue in check(draft, max_issues=None).errors if issue.line is not None
        }
        rows = 0
        with stored_by(draft), draft.open("rb") as source, written(out) as target:
            for number, row in enumerate(source, start=1):
                if number not in bad:
                    target.write(row)
                    rows += 1
    finally:
        draft.unlink(missing_ok=True)
    left_out["refused by data check"] += len(bad)
    return rows, {reason: count for reason, count in left_out.items() if count}


def training_row(answer: StoredAnswer) -> bytes:
    """A line of a chat dataset that ends with the answer."""
    said = {"role": "assistant", "content": answer.answer or None}
    if answer.message is not None and answer.message.tool_calls:
        said["tool_calls"] = [dict(call) for call in answer.message.tool_calls]  # type: ignore[assignment]
    asked = [m.model_dump(mode="json", exclude_none=True) for m in answer.messages]
    return f"{json.dumps({'messages': [*asked, said]}, ensure_ascii=False)}\n".encode()


def require_replaceable(out: Path, answers: Iterable[StoredAnswer]) -> None:
    """Make sure that writing `out` anew loses nothing: it is not there, or was made of `answers`.

    Raises:
        ConfigError: it holds rows of something else.
    """
    try:
        if not out.exists():
            return
        made = {_digest(training_row(answer)) for answer in answers}
        with out.open("rb") as file:
            is_ours = all(_digest(line) in made for line in file)
    except OSError as error:
        raise ConfigError(f"{out}: {error.strerror or error}") from None
    if not is_ours:
        raise ConfigError(
            f"{out}: holds rows that were not made of these answers", hint="Name a new file."
        )


def _rows(answers: Iterable[StoredAnswer], left_out: Counter[str]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for answer in answers:
        if reason := _flaw(answer):
            left_out[reason] += 1
            continue
        row = training_row(answer)
        if _digest(row) in seen:
            left_out["given before"] += 1
            continue
        seen.add(_digest(row))
        yield row


def _flaw(answer: StoredAnswer) -> str:
    """Why an answer cannot be learned from; "" if it can."""
    if answer.finish_reason == "length":
        return "cut"
    if answer.finish_reason not in WHOLE:
        return f"ended by {answer.finish_reason}"
    calls = answer.message.tool_calls if answer.message else None
    return "" if answer.answer.strip() or calls else "empty"


def _digest(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=16).digest()
