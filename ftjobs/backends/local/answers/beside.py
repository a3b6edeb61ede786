"""Answers beside training: whoever writes them rests while a job trains on the same machine.

A lower priority would not do: Linux groups processes by session, and weighs priorities within a
group alone (sched(7), autogroup).  Measured on two cores that others used as well, a job of
SmolLM2-135M beside 16 streams: the share of its own speed that it keeps, and pieces a second.

| the thread that writes        | job        | streams |
|-------------------------------|------------|---------|
| goes on                       | 0.61       | 91      |
| has priority 10               | 0.41, 0.49 | 69, 113 |
| rests as long as it worked    | 0.90, 0.92 | 56, 61  |
"""

from __future__ import annotations

import time
from collections.abc import Callable

REST = 1.0
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
