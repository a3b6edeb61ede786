"""Examples as one row of tokens, in which a beginning that several share stands once.

What a causal model computes of a token depends on it and on the tokens before it only, so a system
prompt, or the prompt of a preference's two answers, is computed once for all examples that begin
with it.  Their gradients add up there, as the chain rule wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ftjobs.backends.local.training.render import Tokens


@dataclass(frozen=True)
class Row:
    """Tokens, the position of each in its examples, and the path of every example through them.

    The rows that an example adds are neighbours, and the last ones of its path.
    """

    ids: list[int]
    positions: list[int]
    paths: list[list[int]]


def pack(examples: Sequence[Tokens]) -> Row:
    """The row of all tokens from which something supervised is predicted, or that those see."""
    row = Row([], [], [])
    places: dict[tuple[int, int], int] = {}
    for example in examples:
        place, path = -1, []
        for position, token in enumerate(example.inputs[: _last(example)]):
            place = places.setdefault((place, token), len(row.ids))
            if place == len(row.ids):
                row.ids.append(token)
                row.positions.append(position)
            path.append(place)
        row.paths.append(path)
    return row


def fill_up(row: Row, multiple: int) -> Row:
    """The row filled up to a multiple of tokens, by one more example."""
    more = range(len(row.ids), len(row.ids) + -len(row.ids) % multiple)
    if not more:
        return row
    ids = [*row.ids, *[0] * len(more)]
    return Row(ids, [*row.positions, *range(len(more))], [*row.paths, list(more)])


def _last(example: Tokens) -> int:
    """The last supervised token's position: what comes later, nothing is predicted from."""
    return max((t for t, learned in enumerate(example.supervised) if learned and t), default=1)
