"""Answers beside training: whoever writes them rests while a job trains on the same machine.

A lower priority would not do: Linux groups processes by session, and weighs priorities within a
group alone (sched(7), autogroup).  A job's threads spin while they wait for each other (see
`openmp`), and get little done beside others that compute: it keeps about the share of the time in
which nobody writes.  Measured on two cores, a job of SmolLM2-135M beside 50 streams of
`ftjobs serve` (tests/benchmarks/serving.py), three rounds each:

| the thread that writes            | the job keeps    | pieces a second |
|-----------------------------------|------------------|-----------------|
| rests as long as it worked        | 0.49, 0.49, 0.51 | 106, 110, 106   |
| rests half again as long          | 0.55, 0.52, 0.56 | 91, 99, 91      |
|                                   | 0.56, 0.54, 0.56 | 100, 100, 100   |

On a machine that others used as well, a job beside 16 streams kept 0.61 without rest, and 0.41 and
0.49 with a priority of 10 instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable

REST = 1.5
"""Seconds of rest for each second of work."""
LONGEST = 1.0
"""Seconds: nobody who comes meanwhile waits longer."""
LOOK = 1.0
"""Seconds from one look for jobs to the next."""


class Beside:
    """Rests after each step while `is_training` says so."""

    def __init__(self, is_training: Callable[[], bool]) -> None:
        self._is_training = is_training
        self._looked_at = -LOOK
        self._rests = False

    def rest(self, worked: float) -> None:
        """After a step that took so many seconds."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK:
            self._looked_at, self._rests = now, self._is_training()
        if self._rests:
            time.sleep(min(LONGEST, REST * worked))
