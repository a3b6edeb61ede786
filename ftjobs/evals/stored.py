"""Stored answers as an arm: what a model said once, or a person wrote.

    Arm("old", "ft:gpt-4o-mini:…", stored=Stored.read("answers.jsonl"))

A file of `ftjobs rescue`, or any prompt file, whose expected answers are then the answers given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ftjobs.disk import readable, stamp_of
from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.answers import HEAD, StoredAnswer, prompt_id, read_answers
from ftjobs.evals.promptrow import ANSWERS, WrongRow, prompt_of, without_system
from ftjobs.evals.prompts import rows_in
from ftjobs.evals.result import Answer
from ftjobs.schema import ChatMessage, Sampling

__all__ = ["Stored"]

Said = tuple[Sequence[ChatMessage], int, Answer]
"""A conversation, which of several answers to it, and the answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Answers by what was asked; see `read`.

    Attributes:
        name: that of the file.
        model: who gave them; "" where the file does not say.
        sampling: how they were drawn; None where the file does not say.
        answers: how many there are.
    """

    name: str
    model: str
    sampling: Sampling | None
    answers: int
    _exact: Mapping[str, Mapping[int, Answer]] = field(repr=False)
    _bare: Mapping[str, str | None] = field(repr=False)

    @classmethod
    def read(
        cls, path: str | Path, *, model: str | None = None, sampling: Sampling | None = None
    ) -> Stored:
        """The answers of a file.

        Args:
            path: a file of `ftjobs rescue`; or JSON Lines or CSV of `messages` or `prompt`, and
                `answer`.  Of the answers to one prompt, the first is sample 0.
            model: whose answers, where the file holds those of several.
            sampling: drawn how, where the file holds answers drawn in several ways.

        Raises:
            ConfigError: the file cannot be read, or holds answers of other models, or of several.
            DatasetError: a line of it is no prompt with an answer.
        """
        path = Path(path)
        if _is_rescued(path):
            chosen = _chosen(path, list(read_answers(path)), model, sampling)
            first = chosen[0]
            found = _indexed((each.messages, each.sample, _answer(each)) for each in chosen)
            return cls(path.name, first.model, first.sampling, len(chosen), *found)
        said = _plain(path)
        return cls(path.name, model or "", None, len(said), *_indexed(said))

    def find(self, messages: Sequence[ChatMessage], sample: int = 0) -> Answer | None:
        """The answer to a conversation, None if there is none.

        Where this very conversation is not there, the one that differs in its system messages
        alone will do, if there is just one.
        """
        key = prompt_id(messages)
        if key not in self._exact:
            key = self._bare.get(prompt_id(without_system(messages))) or ""
        return self._exact.get(key, {}).get(sample)


def _indexed(
    said: Iterable[Said],
) -> tuple[Mapping[str, Mapping[int, Answer]], Mapping[str, str | None]]:
    """Answers by conversation; and conversations by what they are without system messages."""
    exact: dict[str, dict[int, Answer]] = {}
    bare: dict[str, str | None] = {}
    for messages, sample, answer in said:
        key = prompt_id(messages)
        exact.setdefault(key, {}).setdefault(sample, answer)
        short = prompt_id(without_system(messages))
        bare[short] = key if bare.get(short, key) == key else None  # two of them: neither
    return exact, bare


# --- files of rescue --------------------------------------------------------------------------


def _is_rescued(path: Path) -> bool:
    stamp_of(path)
    with readable(path), path.open("rb") as file:
        return file.read(len(HEAD)) == HEAD


def _chosen(
    path: Path,
    answers: Sequence[StoredAnswer],
    model: str | None,
    sampling: Sampling | None,
) -> list[StoredAnswer]:
    """The answers of one model, drawn in one way."""
    models = sorted({each.model for each in answers})
    if model is None and len(models) > 1:
        raise ConfigError(f"{path}: answers of {', '.join(models)}", hint="Say whose: model.")
    mine = [each for each in answers if model in (None, each.model)]
    if not mine:
        raise ConfigError(f"{path}: no answer of {model}", hint=f"It has: {', '.join(models)}.")
    ways = {_way(each.sampling): each.sampling for each in mine}
    if len(ways) == 1:
        return mine
    wanted = None if sampling is None else _way(sampling)
    if wanted not in ways:
        drawn = " and ".join(sorted(ways))
        raise ConfigError(
            f"{path}: answers drawn in {len(ways)} ways: {drawn}",
            hint="Give the arm the settings of those that are meant.",
        )
    return [each for each in mine if _way(each.sampling) == wanted]


def _way(sampling: Sampling) -> str:
    return sampling.model_dump_json(exclude_defaults=True, exclude={"n"})


def _answer(stored: StoredAnswer) -> Answer:
    calls = stored.message.tool_calls if stored.message is not None else None
    return Answer(
        text=stored.answer,
        finish_reason=stored.finish_reason,
        tool_calls=calls or (),
        usage=stored.usage,
    )


# --- other files ------------------------------------------------------------------------------


def _plain(path: Path) -> list[Said]:
    said: list[Said] = []
    count: dict[str, int] = {}
    rows = list(rows_in(path))
    own = any("answer" in row for _, row in rows if not isinstance(row, WrongRow))
    for line, row in rows:
        try:
            messages, answer = _line(row, own=own)
        except WrongRow as wrong:
            raise DatasetError(
                f"{path}:{line}: {wrong.args[0]}",
                hint='A line is {"prompt": "...", "answer": "..."}, or has messages.',
            ) from None
        key = prompt_id(messages)
        count[key] = count.get(key, -1) + 1
        said.append((messages, count[key], answer))
    if not said:
        raise DatasetError(f"{path}: the file holds no answer")
    return said


def _line(row: Mapping[str, Any] | WrongRow, *, own: bool) -> tuple[Sequence[ChatMessage], Answer]:
    """What was asked, and the answer: `answer` where the file has one of its `own`.

    What is expected never stands in for an answer that is missing: it would score full marks.
    """
    if isinstance(row, WrongRow):
        raise row
    if row.get("object") == "stored.answer":
        raise WrongRow("an answer of ftjobs rescue, but not as it was written", "")
    if own:
        if row.get("answer") is None and not row.get("calls"):
            raise WrongRow("there is no answer", "/answer")
        if row.get("answer") and row.get("calls"):
            raise WrongRow("answer and calls: were the calls made, or expected?", "/calls")
        row = {key: value for key, value in row.items() if key == "answer" or key not in ANSWERS}
    elif "expected" in row and (other := next((name for name in ANSWERS[1:] if name in row), "")):
        raise WrongRow(
            f"expected and {other}: call the one that was given answer, and drop the other", ""
        )
    prompt = prompt_of(row)
    if prompt.expected is None and not prompt.calls:
        raise WrongRow("there is no answer", "/answer")
    return prompt.messages, Answer(text=prompt.expected or "", tool_calls=prompt.calls or ())
