"""Stored answers: a file of JSON Lines that outlives the model which gave them.

    for answer in read_answers("answers.jsonl"): ...

A line holds the prompt, the answer, and how it was drawn, so that it can be compared with another
model's answer to the same prompt, or trained on.  Each line is on the disk when `AnswerFile.add`
returns.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ftjobs.disk import stored_by, written
from ftjobs.errors import ConfigError
from ftjobs.evals.lines import append, held, mend
from ftjobs.schema import ChatMessage, Sampling, Usage

__all__ = ["AnswerFile", "Key", "StoredAnswer", "key_of", "prompt_id", "read_answers"]

Key = tuple[str, int, str, str]
"""(prompt, sample, model, sampling): what makes an answer the one that was asked for."""

HEAD = b'{"object": "stored.answer", '


class StoredAnswer(BaseModel):
    """One answer.

    Attributes:
        prompt: `prompt_id` of `messages`.
        sample: which of several answers to the prompt, from 0.
        model: who was asked.
        sampling: how the answer was drawn; `n` is left out.
        messages: what was asked.
        expected: the answer that the prompt file expects.
        tags: those of the prompt file.
        answer: the text, "" if there is none.
        message: the whole answer where it is more than a text, such as tool calls.
        finish_reason: "stop", "length" (it was cut), or a service's own word.
        answered_by: the model's name in the service's answer.
        usage: tokens of the request, with the first of the answers that it gave.
        created: when, in Unix seconds by the service's clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: Literal["stored.answer"] = "stored.answer"
    prompt: str
    sample: int
    model: str
    sampling: Sampling
    messages: tuple[ChatMessage, ...]
    expected: str | None = None
    tags: tuple[str, ...] = ()
    answer: str
    message: ChatMessage | None = None
    finish_reason: str | None = None
    answered_by: str = ""
    usage: Usage | None = None
    created: int = 0

    @property
    def key(self) -> Key:
        """What it answers."""
        return key_of(self.prompt, self.sample, self.model, self.sampling)

    def line(self) -> bytes:
        """It as a line of JSON; half a surrogate pair, which no file can hold, becomes "?"."""
        plain = self.model_dump(mode="json", exclude_none=True, exclude={"sampling"})
        plain["sampling"] = self.sampling.model_dump(mode="json", exclude_defaults=True)
        return f"{json.dumps(plain, ensure_ascii=False)}\n".encode(errors="replace")


def prompt_id(messages: Sequence[ChatMessage]) -> str:
    """32 hex digits that are the same exactly for the same conversation; weights do not count."""
    plain = [m.model_dump(mode="json", exclude_none=True, exclude={"weight"}) for m in messages]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:32]


def key_of(prompt: str, sample: int, model: str, sampling: Sampling) -> Key:
    """The key of an answer; `sampling.n` does not count."""
    drawn = sampling.model_dump(mode="json", exclude_defaults=True, exclude={"n"})
    return prompt, sample, model, json.dumps(drawn, sort_keys=True)


def read_answers(path: str | Path) -> Iterator[StoredAnswer]:
    """The answers of a file, in its order; a last line that was torn by a crash is left out.

    Raises:
        ConfigError: the file cannot be read, or a line of it is no stored answer.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            for answer, _start, _end in _answers(path, file):
                yield answer
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


class AnswerFile:
    """The file, open for one process at a time; see `AnswerFile.opened`.  Thread-safe."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._places: dict[Key, tuple[int, int]] = {}
        self._lock = threading.Lock()
        end = 0
        with stored_by(path), path.open("rb") as lines:
            for answer, start, stop in _answers(path, lines):
                self._places.setdefault(answer.key, (start, stop))
                end = stop
            mend(file, end)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[AnswerFile]:
        """The file at `path`, made if there is none, mended if a crash tore its last line.

        Raises:
            ConfigError: it holds something else, cannot be made, or another process writes to it.
            FtjobsError: it cannot be written, for example because the disk is full.
        """
        if path.is_file():
            next(read_answers(path), None)  # what is no such file gets no lock beside it
        with held(path, what="answers") as file, closing(cls(path, file)) as answers:
            yield answers

    def close(self) -> None:
        """Take no more answers, not even from a thread that comes late.  ValueError for them."""
        with self._lock:
            self._file.close()

    def __contains__(self, key: Key) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, answer: StoredAnswer) -> None:
        """Store an answer; it is on the disk when this returns."""
        line = answer.line()
        with self._lock, stored_by(self.path):
            start = append(self._file, line)
            self._places[answer.key] = (start, start + len(line))

    def sort(self, keys: Sequence[Key]) -> None:
        """Bring the answers to `keys` into this order, behind all others: the last thing to do.

        The file is whole at any moment.
        """
        rank = {key: number for number, key in enumerate(keys)}
        order = sorted(self._places, key=lambda key: (rank.get(key, -1), self._places[key]))
        if order == sorted(self._places, key=self._places.__getitem__):
            return
        with written(self.path) as file:
            for key in order:
                file.write(self._line(key).rstrip(b"\n") + b"\n")

    def _line(self, key: Key) -> bytes:
        start, end = self._places[key]
        return os.pread(self._file.fileno(), end - start, start)


def _answers(path: Path, file: BinaryIO) -> Iterator[tuple[StoredAnswer, int, int]]:
    """Each answer with where its line starts and ends."""
    start = 0
    for number, line in enumerate(file, start=1):
        try:
            yield StoredAnswer.model_validate_json(line), start, start + len(line)
        except ValidationError:
            if not line.endswith(b"\n") and HEAD.startswith(line.rstrip(b"\0")[: len(HEAD)]):
                return  # torn while it was written; zeros are what a power cut leaves
            raise ConfigError(
                f"{path}:{number}: not a stored answer", hint="Name a new file, or one of rescue."
            ) from None
        start += len(line)
