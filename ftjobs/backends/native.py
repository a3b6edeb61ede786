"""What the backends for services with a wire of their own have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from ftjobs.backends.base import Tools
from ftjobs.backends.chat import DEFAULTS, chat_body, check_sampling, completion, deltas
from ftjobs.backends.profiles import Profile
from ftjobs.backends.rest import Rest
from ftjobs.backends.retry import RetryPolicy
from ftjobs.errors import InvalidRequestError, UnsupportedError
from ftjobs.schema import ChatMessage, Completion, Delta, Job, Sampling

__all__ = ["Native", "require_unused"]


class Native:
    """A part of a `Backend` over `Rest`.  Thread-safe.

    Args:
        name: what the user calls it.
        profile: where it is and what it can do.
        key: sent in the profile's header for it, and never written anywhere else.
        retry: the policy for what may be repeated.
        timeout: seconds without a byte after which a call fails with DeadlineError.

    Raises:
        ConfigError: the URL cannot be used.
        AuthError: the key holds characters that no header can carry.
    """

    chat: ClassVar[str]
    """The path of chat completions."""

    def __init__(
        self,
        name: str,
        profile: Profile,
        key: str,
        *,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        timeout: float = 120.0,
    ) -> None:
        self.name = name
        self.capabilities = profile.capabilities
        self.profile = profile
        self._always = {**profile.settings, **profile.extra_body}
        self._rest = Rest(name, profile, key, retry=retry, timeout=timeout)

    def close(self) -> None:
        """Close the connections.  The backend opens new ones if it is used again."""
        self._rest.close()

    def pause(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot pause job {job_id}")

    def resume(self, job_id: str) -> Job:
        """UnsupportedError: jobs cannot be paused here."""
        raise UnsupportedError(f"{self.name} cannot resume job {job_id}")

    def complete(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = DEFAULTS,
        tools: Tools = (),
    ) -> Completion:
        """The whole answer.  A tuned model must be deployed first.

        Raises:
            UnsupportedError: `sampling` asks for what the service does not know.
        """
        check_sampling(sampling, self.capabilities, self.name)
        body = chat_body(model, messages, sampling, tools)
        answer = self._rest.read(lambda: self._rest.post(self.chat, body))
        return completion(answer, model, self.name)

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = DEFAULTS,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        """The answer piece by piece; only its opening is retried.  Raises as `complete`."""
        check_sampling(sampling, self.capabilities, self.name)
        body = chat_body(model, messages, sampling, tools)
        return deltas(self._rest.stream(self.chat, body), sampling.n, self.name)


def require_unused(file_id: str, jobs: Iterable[Job]) -> None:
    """Refuse to delete a file that a job needs: these services would.  InvalidRequestError."""
    for job in jobs:
        if not job.ended and file_id in (job.training_file, job.validation_file):
            raise InvalidRequestError(f"file {file_id} is in use by job {job.id}")
