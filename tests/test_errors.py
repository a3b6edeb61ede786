"""The error tree: one root, exit codes, and nothing lost between processes."""

from __future__ import annotations

import pickle
import re
from typing import Any

import pytest

from ftjobs import errors
from ftjobs.backends.local.store import DiskFull
from ftjobs.schema import Issue, Job

JOB = Job(id="ftjob-1", created_at=1, status="failed", model="m", training_file="f")
ISSUES = (Issue(code="FT201", severity="error", message="bad", path="a.jsonl", line=7),)


def tree(root: type[errors.FtjobsError] = errors.FtjobsError) -> list[type[errors.FtjobsError]]:
    """What is drawn; the server's `Refusal` is an answer of HTTP, and stays in its process."""
    ours = [
        kind for kind in root.__subclasses__() if not kind.__module__.startswith("ftjobs.server")
    ]
    return [root, *(found for child in ours for found in tree(child))]


def make(kind: type[errors.FtjobsError]) -> errors.FtjobsError:
    extra: dict[str, Any] = {}
    if issubclass(kind, errors.DatasetError):
        extra = {"issues": ISSUES}
    elif issubclass(kind, errors.BackendError):
        extra = {"status": 429, "code": "c", "param": "p", "request_id": "r", "retry_after": 1.5}
    elif issubclass(kind, errors.TrainingError):
        extra = {"code": "c", "param": "p"}
    elif issubclass(kind, errors.JobEndedError | errors.WatchTimeout):
        extra = {"job": JOB}
    return kind("what is wrong", hint="what to do", **extra)


@pytest.mark.parametrize("kind", tree())
def test_every_error_pickles_whole(kind: type[errors.FtjobsError]) -> None:
    error = make(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.__dict__ == error.__dict__
    assert str(again) == "what is wrong\nwhat to do"
    assert again.args == error.args


@pytest.mark.parametrize("kind", tree())
def test_every_error_is_documented_with_its_exit_code(kind: type[errors.FtjobsError]) -> None:
    assert kind.__doc__
    if kind is DiskFull:  # the store's own refinement of StoreError
        assert kind.exit_code == errors.StoreError.exit_code
        return
    drawn = re.search(rf"\b{kind.__name__}\b(?: \(\w+\))?\s+(\d+)\b", errors.__doc__ or "")
    assert drawn, "it is missing from the drawing"
    assert int(drawn[1]) == kind.exit_code


def test_exit_codes_are_frozen() -> None:
    assert {code.name: code.value for code in errors.ExitCode} == {
        "OK": 0, "FAILED": 1, "USAGE": 2, "DATASET": 3, "AUTH": 4, "JOB_ENDED": 5,
        "GATE_FAILED": 6, "INCONCLUSIVE": 7, "STILL_RUNNING": 8, "COST": 9, "PLAN_CONFLICT": 10,
        "INTERRUPTED": 130,
    }  # fmt: skip


def test_the_standard_librarys_names_catch_ours() -> None:
    pairs: list[tuple[type[Exception], type[Exception]]] = [
        (errors.ConfigError, ValueError),
        (errors.DatasetError, ValueError),
        (errors.NotFoundError, LookupError),
        (errors.UnreachableError, ConnectionError),
        (errors.DeadlineError, TimeoutError),
        (errors.WatchTimeout, TimeoutError),
        (errors.StoreError, OSError),
    ]
    assert all(issubclass(ours, theirs) for ours, theirs in pairs)
