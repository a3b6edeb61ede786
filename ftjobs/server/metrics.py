"""Numbers for Prometheus.  No label holds a word of a client's, so their number is bounded."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ftjobs.schema import Job, Usage

__all__ = ["Metrics"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STATUSES = ("validating_files", "queued", "running", "pausing", "paused",
            "succeeded", "failed", "cancelled")  # fmt: skip
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """What one server counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ftjobs_requests", "Requests answered.", ("method", "route", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "ftjobs_request_seconds", "From a request's head to the end of its answer.",
            ("route",), registry=self._registry, buckets=SECONDS,
        )  # fmt: skip
        self._under_way = Gauge(
            "ftjobs_requests_under_way", "Requests not answered yet.", registry=self._registry
        )
        self._jobs = Gauge("ftjobs_jobs", "Jobs there are.", ("status",), registry=self._registry)
        self._chats = Gauge(
            "ftjobs_chats", "Chats being answered, and waiting for their turn.", ("state",),
            registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "ftjobs_tokens", "Tokens of chats.", ("kind",), registry=self._registry
        )
        for kind in ("prompt", "completion"):
            self._tokens.labels(kind)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as under way."""
        with self._under_way.track_inprogress():
            yield

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is a template."""
        method = method if method in METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def tokens(self, usage: Usage | None) -> None:
        """Count what an answer took, where that is known."""
        if usage is None:
            return
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)

    def text(self, *, jobs: Iterable[Job] | None, answering: int, waiting: int) -> bytes:
        """All of it, as Prometheus reads it; without jobs where nobody knows them."""
        self._chats.labels("answering").set(answering)
        self._chats.labels("waiting").set(waiting)
        self._jobs.clear()
        if jobs is not None:
            tally = Tally(job.status if job.status in STATUSES else "other" for job in jobs)
            for status in (*STATUSES, "other"):
                self._jobs.labels(status).set(tally[status])
        return generate_latest(self._registry)
