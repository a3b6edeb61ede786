"""How the threads of a computing process wait for each other.

By default OpenMP's threads spin while they wait.  On a quiet machine that is twice as fast as
sleeping; beside another program that computes it is ruinous, since the thread that is waited for
may not be running.  Measured on two cores, SmolLM2-135M, tokens a second:

| beside                    | spinning | sleeping |
|---------------------------|----------|----------|
| nothing                   | 275      | 134      |
| one busy loop             | 44       | 142      |
| a second training process | 5.7      | 156      |

The choice must be made before torch is imported, and changes no result.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

_LOAD = Path("/proc/loadavg")


def environment(environ: Mapping[str, str], *, runnable: int | None = None) -> dict[str, str]:
    """Variables to add for a process that is about to import torch.

    Empty where the user has chosen already, and where no other program is computing now.
    """
    if "OMP_WAIT_POLICY" in environ or "GOMP_SPINCOUNT" in environ:
        return {}
    others = _others_running() if runnable is None else runnable
    return {"OMP_WAIT_POLICY": "PASSIVE"} if others >= 1 else {}


class Pace:
    """Notices that spinning has become ruinous since this process chose it."""

    def __init__(self) -> None:
        self._rates: list[float] = []

    def collapsed(self, rate: float, *, runnable: int | None = None) -> bool:
        """Take the rate of one more step (any unit).  True if it is time to sleep instead.

        That is when three steps in a row made less than a quarter of the best pace kept up
        before, or one made less than a twentieth, and another program is computing.  Never where
        the user or `environment` chose.
        """
        self._rates.append(rate)
        if len(self._rates) < 9 or "OMP_WAIT_POLICY" in os.environ:
            return False
        usual = median(sorted(self._rates)[-5:])
        if max(self._rates[-3:]) > usual / 4 and rate > usual / 20:
            return False
        others = _others_running() if runnable is None else runnable
        return bool(environment(os.environ, runnable=others))


def _others_running(samples: int = 9, pause: float = 0.01) -> int:
    """Threads of other programs that want a core at this moment; 0 where it cannot be known."""
    seen = []
    for _ in range(samples):
        try:
            seen.append(int(_LOAD.read_text().split()[3].partition("/")[0]) - 1)  # less ourselves
        except (OSError, ValueError, IndexError):
            return 0
        time.sleep(pause)
    return int(median(seen))


def prepare_this_process() -> None:
    """Let the threads of this process, which answers, sleep while they wait, and import torch.

    A job may come at any time, and answers lose nothing: 15.4 tokens a second of one stream
    spinning and 15.2 sleeping, 201 and 197 of a batch of 32.  Jobs choose for their own processes,
    so the environment stays as it was.  Nothing is chosen where torch is there already.
    """
    added = environment(os.environ, runnable=1)
    os.environ.update(added)
    import torch  # noqa: F401 - its OpenMP reads the environment now

    for name in added:
        del os.environ[name]
