"""Every error that ftjobs raises on purpose, in one tree.

::

    FtjobsError                     1   the root: catch this to catch all of ftjobs
    ├── ConfigError (ValueError)    2   a setting, name or flag cannot be used
    │   ├── ModelError              2   a base model cannot be found or safely loaded
    │   └── UnsupportedError        2   this backend cannot do what was asked
    ├── DatasetError (ValueError)   3   a dataset has errors; carries every issue
    ├── BackendError                1   a backend answered, and the answer is no
    │   ├── AuthError               4   key missing, wrong, or not allowed
    │   ├── NotFoundError           1   no such file, job, checkpoint or model
    │   ├── InvalidRequestError     1   the backend refuses the request as it stands
    │   ├── QuotaError              1   the account has no credit left: retrying is useless
    │   ├── RateLimitError          1   too many requests; `retry_after` says how long to wait
    │   ├── ServiceError            1   the backend failed on its side
    │   ├── UnreachableError        1   no connection (ConnectionError)
    │   └── DeadlineError           1   no answer in time (TimeoutError)
    ├── StoreError (OSError)        1   the local store cannot be read or written (full disk, …)
    │   └── StoreLockedError        1   another worker holds the store
    ├── TrainingError               1   training cannot go on; a local job fails with its `code`
    ├── JobEndedError               5   a job ended without success; carries the job
    │   ├── JobFailed               5
    │   └── JobCancelled            5
    ├── WatchTimeout (TimeoutError) 8   the job still runs; carries the job
    ├── CostError                   9   the job could cost more than was allowed
    └── StalePlanError             10   data, job or service have moved since the plan was made

The number is the exit code that the command line returns (`ExitCode`).  All errors pickle, so
that they cross process boundaries whole.  Messages never contain a key or training text.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from ftjobs.schema import Issue, Job


class ExitCode(enum.IntEnum):
    """What the command line returns.  Frozen: scripts depend on these numbers.

    `meaning` says in a sentence what each stands for; the documentation is made from it.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """A number with its meaning."""
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "It worked. Where a job is watched to its end: the job succeeded."
    FAILED = 1, "The operation failed: the backend said no, or the store cannot be used."
    USAGE = 2, "The command line or a setting is wrong."
    DATASET = 3, "A dataset has errors."
    AUTH = 4, "The key is missing, wrong, or not allowed to do this."
    JOB_ENDED = 5, "The job failed or was cancelled."
    GATE_FAILED = 6, "A comparison's gate failed: the candidate is not what was asked for."
    INCONCLUSIVE = 7, "A comparison's evidence decides nothing: more prompts are needed."
    STILL_RUNNING = 8, "The time to watch is over and the job still runs. It goes on."
    COST = 9, "The job could cost more than was allowed, or nobody knows what it costs."
    PLAN_CONFLICT = 10, "Data, job or service have moved since the plan was made: plan again."
    INTERRUPTED = 130, "Ctrl-C. A job that was watched goes on."


def _rebuild(cls: type[FtjobsError], state: dict[str, Any]) -> FtjobsError:
    error = cls.__new__(cls)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class FtjobsError(Exception):
    """Root of the tree.

    `message` says what is wrong and where, in one line; `hint` says what to do, or is empty.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments are lost by BaseException.__reduce__; the attributes hold them all.
        return _rebuild, (type(self), dict(self.__dict__))


class ConfigError(FtjobsError, ValueError):
    """A setting, a name or a flag cannot be used."""

    exit_code = ExitCode.USAGE


class ModelError(ConfigError):
    """A base model cannot be found, or cannot be loaded safely."""


class UnsupportedError(ConfigError):
    """This backend (or this model) cannot do what was asked."""


class DatasetError(FtjobsError, ValueError):
    """A dataset has errors.  `issues` holds every one found, in file order."""

    exit_code = ExitCode.DATASET

    def __init__(self, message: str, *, issues: Sequence[Issue] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.issues = tuple(issues)


class BackendError(FtjobsError):
    """A backend answered, and the answer is no.

    `status` is the HTTP status where there is one; `code` and `param` are the service's own
    words (an open set); `request_id` is for its support desk.  `acted` is False where the
    backend certainly did nothing (it never got the request, or refused it) and None where it
    may have done what was asked.  `should_retry` is the service's own word on whether to send
    the request again, None where it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        acted: bool | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after
        self.acted = acted
        self.should_retry = should_retry


class AuthError(BackendError):
    """The key is missing, wrong, or not allowed to do this."""

    exit_code = ExitCode.AUTH


class NotFoundError(BackendError, LookupError):
    """No such file, job, checkpoint or model."""


class InvalidRequestError(BackendError, ValueError):
    """The backend refuses the request as it stands; sending it again cannot help."""


class QuotaError(BackendError):
    """The account has no credit or quota left; retrying is useless."""


class RateLimitError(BackendError):
    """Too many requests.  `retry_after` is in seconds, None where the service does not say."""


class ServiceError(BackendError):
    """The backend failed on its own side, or answered something unintelligible."""


class UnreachableError(BackendError, ConnectionError):
    """No connection to the backend."""


class DeadlineError(BackendError, TimeoutError):
    """The backend gave no whole answer before the call's deadline."""


class StoreError(FtjobsError, OSError):
    """The local store cannot be read or written: full disk, permissions, damage."""


class StoreLockedError(StoreError):
    """Another worker process holds the local store."""


class TrainingError(FtjobsError):
    """Training cannot go on.  `code` and `param` become those of the failed job's error."""

    def __init__(
        self, message: str, *, code: str, param: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.param = param


class JobEndedError(FtjobsError):
    """A job ended without success.  `job` is its last state."""

    exit_code = ExitCode.JOB_ENDED

    def __init__(self, message: str, *, job: Job, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.job = job


class JobFailed(JobEndedError):
    """The job failed; `job.error` says why."""


class JobCancelled(JobEndedError):
    """The job was cancelled."""


class WatchTimeout(FtjobsError, TimeoutError):
    """The wait ended before the job did.  The job still runs; `job` is its last state."""

    exit_code = ExitCode.STILL_RUNNING

    def __init__(self, message: str, *, job: Job, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.job = job


class CostError(FtjobsError):
    """The job could cost more than was allowed, or nobody knows what it costs."""

    exit_code = ExitCode.COST


class StalePlanError(FtjobsError):
    """Data, job or service have moved since the plan was made: plan again."""

    exit_code = ExitCode.PLAN_CONFLICT
