"""Requests drawn from a description: no 5xx, and no answer that breaks it.

`make fuzz MINUTES=20` draws more of them, and tries the edges of every field.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.server.safety.fuzz import OWN, Target, descriptions, fake, local

BOUNDS = ("--phases", "fuzzing,stateful", "--seed", "0", "--generation-database", "none")


@pytest.mark.parametrize(
    ("served", "description", "examples"),
    [*((fake, each, 40) for each in descriptions()), (local, OWN, 12)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_no_request_breaks_the_server(
    served: Callable[[Path], AbstractContextManager[Target]],
    description: str,
    examples: int,
    tmp_path: Path,
) -> None:
    with served(tmp_path) as target:
        status, report = target.try_all(description, *BOUNDS, "--max-examples", str(examples))
    assert status == 0, report
