"""People's votes: which of two answers is better, one JSON line a vote.

    with VoteFile.opened(Path("result.votes.jsonl")) as votes:
        votes.add(Vote(comparison=comparison_id(result), row=3, arm="tuned", …))

A voter does not learn whose answer is whose: `seats` puts the arm first or second, row by row.
Of several votes of one voter on one row, the last counts.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ftjobs.evals.result import Answer, Comparison, Row, Winner

__all__ = ["Vote", "comparison_id", "seats"]


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
    voter: Annotated[str, Field(min_length=1)]
    at: int


def comparison_id(comparison: Comparison) -> str:
    """16 hex digits that are the same exactly for the same prompts with the same answers.

    Gradings do not count, so that votes outlive a run of other judges.
    """
    plain = [_asked_and_said(row) for row in comparison.rows]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def seats(comparison: str, row: int, seed: int) -> bool:
    """Whether the arm's answer is shown first: a fair coin that falls the same way every time.

    `comparison` is a `comparison_id`, `row` the row's number, `seed` that of the comparison.
    """
    return bool(hashlib.sha256(f"{seed}:{comparison}:{row}".encode()).digest()[0] & 1)


def _asked_and_said(row: Row) -> list[Any]:
    asked = [m.model_dump(mode="json", exclude_none=True, exclude={"weight"}) for m in row.messages]
    return [row.number, asked, {arm: list(map(_said, given)) for arm, given in row.answers.items()}]


def _said(answer: Answer) -> Any:
    calls = [dict(call) for call in answer.tool_calls]
    return [answer.text, calls] if calls else answer.text
