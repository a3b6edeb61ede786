"""Sends what waits in the outbox: at most one delivery to an endpoint at a time.

A slow receiver delays its own deliveries alone.  Nothing that a receiver says is read but the
status and Retry-After, and no redirect is followed: the operator's URL is the only place.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ftjobs.errors import FtjobsError
from ftjobs.server.rounds import repeated
from ftjobs.server.webhooks.outbox import Delivery, Outbox

__all__ = ["Sender", "signed"]

log = logging.getLogger("ftjobs.server")

DEADLINE = 10.0
"""Seconds for one try, from looking up the name to the status."""
AT_ONCE = 16
"""Deliveries under way."""
REST = 1.0
"""Seconds between two looks into the outbox."""
FAREWELL = 3.0
"""Seconds that tries under way have when the server ends.  They are sent again by the next one."""
GONE = 410


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a try: "" in `wrong` if it was taken."""

    wrong: str = ""
    rest: float = 0.0
    final: bool = False


class Sender:
    """A thread that looks into the outbox, and one for each delivery under way."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Thread] = {}  # by endpoint
        self._woken = threading.Event()
        self._ended = False

    def wake(self) -> None:
        """There may be something to send."""
        self._woken.set()

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send until the block ends."""
        try:
            with repeated(self._send_due, every=REST, name="sending webhooks", woken=self._woken):
                yield
        finally:
            self._leave()

    def _send_due(self) -> None:
        with self._lock:
            busy = set(self._busy)
        for delivery in self._outbox.due(without=busy)[: AT_ONCE - len(busy)]:
            thread = threading.Thread(
                target=self._send, args=(delivery,), name="ftjobs-webhook", daemon=True
            )
            with self._lock:
                thread.start()  # it may be that there is none: then nothing is under way
                self._busy[delivery.endpoint] = thread

    def _leave(self) -> None:
        end = time.monotonic() + FAREWELL
        with self._lock:
            threads = list(self._busy.values())
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        with self._lock:
            self._ended = True  # the database closes: a later answer is not written down

    def _send(self, delivery: Delivery) -> None:
        try:
            answer = _post(delivery)
        except Exception:
            log.exception("webhook %s: not sent", delivery.endpoint)
            answer = _Answer("the server's own fault: see its log")
        with self._lock:
            if not self._ended:
                self._note(delivery, answer)
            del self._busy[delivery.endpoint]
        self.wake()

    def _note(self, delivery: Delivery, answer: _Answer) -> None:
        try:
            if not answer.wrong:
                self._outbox.delivered(delivery)
            elif not self._outbox.failed(
                delivery, answer.wrong, rest=answer.rest, final=answer.final
            ):
                log.warning(
                    "webhook %s: given up on job %s: %s",
                    delivery.endpoint, delivery.job, answer.wrong,
                )  # fmt: skip
        except FtjobsError as error:  # it is sent again, under the same id
            log.warning("webhooks: the outbox cannot be written: %s", type(error).__name__)


def signed(delivery: Delivery, now: float) -> Mapping[str, str]:
    """The headers of a try.

    Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    stamp = str(int(now))
    key = base64.b64decode(delivery.secret.removeprefix("whsec_"))
    content = f"{delivery.id}.{stamp}.".encode() + delivery.body
    code = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {
        "content-type": "application/json",
        "user-agent": "ftjobs",
        "webhook-id": delivery.id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{code}",
    }


def _post(delivery: Delivery) -> _Answer:
    """One try."""
    import httpx2

    from ftjobs.backends.transport import open_client

    headers = signed(delivery, time.time())
    try:
        with (
            open_client(DEADLINE, DEADLINE, bare=True) as client,
            client.stream("POST", delivery.url, content=delivery.body, headers=headers) as answer,
        ):
            status, asked = answer.status_code, answer.headers.get("retry-after", "")
    except httpx2.TimeoutException:
        return _Answer(f"no answer in {DEADLINE:g} s")
    except (httpx2.HTTPError, httpx2.InvalidURL, FtjobsError, ValueError) as error:
        return _Answer(" ".join(str(error).split())[:200] or "no answer")
    if 200 <= status < 300:
        return _Answer()
    rest = float(asked) if re.fullmatch(r"[0-9]{1,6}", asked) else 0.0
    return _Answer(f"HTTP {status}", rest, final=status == GONE)
