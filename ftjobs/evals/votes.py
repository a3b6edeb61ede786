"""People's votes: which of two answers is better, one JSON line a vote.

    with VoteFile.opened(Path("result.votes.jsonl")) as votes:
        votes.add(Vote(comparison=comparison_id(result), row=3, arm="tuned", …))

A voter does not learn whose answer is whose: `seats` puts the arm first or second, row by row.
Of several votes of one voter on one row, the last counts.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftjobs.disk import readable, stamp_of, stored_by
from ftjobs.errors import ConfigError
from ftjobs.evals.lines import append, held, mend
from ftjobs.evals.result import Answer, Comparison, Row, Winner

__all__ = [
    "Vote",
    "VoteFile",
    "ballot",
    "comparison_id",
    "equal_answers",
    "read_votes",
    "seats",
    "standing",
]

HEAD = b'{"object":"vote",'
LONGEST = 1 << 16  # bytes of a line; a name or two and a few numbers are all that a vote holds


class Vote(BaseModel):
    """One person's choice between an arm's first answer to a prompt and the baseline's.

    Attributes:
        comparison: `comparison_id` of the result.
        row: `Row.number`.
        arm: the arm's name.
        baseline: the name of the arm that it was held against.
        winner: who was chosen; "tie" where neither is better.
        voter: who chose.
        at: when, in Unix seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    object: Literal["vote"] = "vote"
    comparison: str
    row: Annotated[int, Field(ge=1)]
    arm: str
    baseline: str
    winner: Winner
    voter: Annotated[str, Field(min_length=1, max_length=200)]
    at: int

    @property
    def score(self) -> float:
        """1 for the arm, 0 for the baseline, 0.5 for a tie."""
        return {"arm": 1.0, "tie": 0.5, "baseline": 0.0}[self.winner]

    def line(self) -> bytes:
        """It as a line of JSON; half a surrogate pair, which no file can hold, becomes "?"."""
        text = json.dumps(self.model_dump(), ensure_ascii=False, separators=(",", ":"))
        return f"{text}\n".encode(errors="replace")


def comparison_id(comparison: Comparison) -> str:
    """16 hex digits that are the same exactly for the same prompts with the same answers.

    Gradings do not count, so that votes outlive a run of other judges.
    """
    plain = [_asked_and_said(row) for row in comparison.rows]
    text = json.dumps(plain, sort_keys=True, ensure_ascii=False)
    # Half a surrogate pair is "?" in the file of a comparison, and so it is here.
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def seats(comparison: str, row: int, seed: int) -> bool:
    """Whether the arm's answer is shown first: a fair coin that falls the same way every time.

    `comparison` is a `comparison_id`, `row` the row's number, `seed` that of the comparison.
    """
    return bool(_draw("seat", comparison, row, seed)[0] & 1)


def ballot(comparison: Comparison, arm: str, *, of: str = "") -> list[Row]:
    """The rows of the set `of` where an arm's answer and the baseline's differ.

    Their order is drawn by the comparison's seed, so that whoever stops early has voted on a
    sample of the rows, and two voters on the same ones.

    Raises:
        ConfigError: there is no such arm, it is the baseline, or there is no such row.
    """
    rows = [row for row in _answered(comparison, arm, of) if not _equal(row, arm, comparison)]
    if not rows:
        where = f" in the set {of!r}" if of else ""
        both = f"{comparison.baseline!r} and {arm!r}"
        raise ConfigError(f"no row{where} has answers of {both} that differ")
    name = comparison_id(comparison)
    return sorted(rows, key=lambda row: _draw("turn", name, row.number, comparison.seed))


def equal_answers(comparison: Comparison, arm: str, *, of: str = "") -> int:
    """How many rows of the set `of` nobody is asked about: both said, and called, the same.

    Raises:
        ConfigError: there is no such arm, or it is the baseline.
    """
    return sum(_equal(row, arm, comparison) for row in _answered(comparison, arm, of))


def standing(votes: Iterable[Vote], comparison: str, arm: str) -> dict[str, dict[int, Vote]]:
    """The votes that count on an arm of a comparison: by voter, then by row's number."""
    counted: dict[str, dict[int, Vote]] = {}
    for vote in votes:
        if (vote.comparison, vote.arm) == (comparison, arm):
            counted.setdefault(vote.voter, {})[vote.row] = vote
    return counted


def read_votes(path: str | Path) -> list[Vote]:
    """The votes of a file, in its order; a last line that was torn by a crash is left out.

    Raises:
        ConfigError: the file cannot be read, or a line of it is no vote.
    """
    path = Path(path)
    stamp_of(path)
    with readable(path), path.open("rb") as file:
        return [vote for vote, _start, _end in _votes(path, file)]


class VoteFile:
    """The file, open for one process at a time; see `VoteFile.opened`."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self.votes: list[Vote] = []
        self._file = file
        self._starts: list[int] = []
        end = 0
        with stored_by(path), path.open("rb") as lines:
            for vote, start, stop in _votes(path, lines):
                self.votes.append(vote)
                self._starts.append(start)
                end = stop
            mend(file, end)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[VoteFile]:
        """The file at `path`, made if there is none, mended if a crash tore its last line.

        Raises:
            ConfigError: it holds something else, cannot be made, or another process writes to it.
            FtjobsError: it cannot be written, for example because the disk is full.
        """
        if path.is_file():
            read_votes(path)  # what is no such file gets no lock beside it
        with held(path, what="votes") as file:
            yield cls(path, file)

    def add(self, vote: Vote) -> None:
        """Store a vote; it is on the disk when this returns."""
        with stored_by(self.path):
            self._starts.append(append(self._file, vote.line()))
        self.votes.append(vote)

    def take_back(self) -> Vote:
        """Take the last vote off the file, durably.  IndexError if there is none."""
        with stored_by(self.path):
            self._file.truncate(self._starts[-1])
            os.fsync(self._file.fileno())
        self._starts.pop()
        return self.votes.pop()


def _draw(what: str, comparison: str, row: int, seed: int) -> bytes:
    return hashlib.sha256(f"{what}:{seed}:{comparison}:{row}".encode()).digest()


def _asked_and_said(row: Row) -> list[Any]:
    asked = [m.model_dump(mode="json", exclude_none=True, exclude={"weight"}) for m in row.messages]
    return [row.number, asked, {arm: list(map(_said, given)) for arm, given in row.answers.items()}]


def _said(answer: Answer) -> Any:
    calls = [dict(call) for call in answer.tool_calls]
    return [answer.text, calls] if calls else answer.text


def _answered(comparison: Comparison, arm: str, of: str) -> list[Row]:
    others = [each.name for each in comparison.arms[1:]]
    if arm not in others:
        raise ConfigError(f"no arm {arm!r} to vote on", hint=f"There is: {', '.join(others)}.")
    both = (comparison.baseline, arm)
    return [row for row in comparison.rows if row.set == of and all(_has(row, a) for a in both)]


def _has(row: Row, arm: str) -> bool:
    given = row.answers.get(arm, ())
    return len(given) > 0 and not given[0].failure


def _equal(row: Row, arm: str, comparison: Comparison) -> bool:
    return bool(_said(row.answers[arm][0]) == _said(row.answers[comparison.baseline][0]))


def _votes(path: Path, file: BinaryIO) -> Iterator[tuple[Vote, int, int]]:
    """Each vote with where its line starts and ends; blank lines aside."""
    start = number = 0
    while line := file.readline(LONGEST):
        number += 1
        if line.strip():
            try:
                yield Vote.model_validate_json(line), start, start + len(line)
            except ValidationError as error:
                if _is_torn(line):
                    return
                raise ConfigError(_wrong(path, number, error), hint=HINT) from None
        start += len(line)


HINT = "Votes are written by ftjobs vote, or saved from the page of a report."


def _is_torn(line: bytes) -> bool:
    """Whether a crash left this; zeros are what a power cut leaves."""
    is_last = not line.endswith(b"\n") and len(line) < LONGEST
    return is_last and HEAD.startswith(line.rstrip(b"\0")[: len(HEAD)])


def _wrong(path: Path, number: int, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = "".join(f" {part}:" for part in first["loc"])
    return f"{path}:{number}: not a vote:{where} {first['msg']}"
