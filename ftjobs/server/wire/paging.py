"""Pages of a list: `after`, `limit`, `order`, as the wire has them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import dropwhile, islice
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel

from ftjobs.server.refusals import Refusal

After = Annotated[str | None, Query(description="The last id of the page before.")]
Order = Annotated[Literal["asc", "desc"], Query(description="By creation time.")]

Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """Some of a list, and whether there is more after its last."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def page(rows: Iterable[Any], *, after: str | None, limit: int) -> tuple[list[Any], bool]:
    """At most `limit` rows after the one with the id `after`, and whether more follow.

    Raises:
        Refusal: 400, no row has this id.
    """
    found = iter(rows)
    if after is not None:
        rest = dropwhile(lambda row: row.id != after, found)
        if next(rest, None) is None:
            raise Refusal(400, f"after: there is no {after[:100]!r} in this list", param="after")
        found = rest
    some = list(islice(found, limit + 1))
    return some[:limit], len(some) > limit
