"""Speed, as ratios within one run: `make bench`.  Never part of the tests.

Each benchmark measures ours and a peer alternately and prints medians.  Read the ratios: the
machine's own speed drifts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.check import checking
from tests.benchmarks.compare import comparing
from tests.benchmarks.dpo import preferring
from tests.benchmarks.faults import submitting
from tests.benchmarks.fit import forecasting
from tests.benchmarks.generate import generating
from tests.benchmarks.near import near_duplicates
from tests.benchmarks.one_fact import main as one_fact
from tests.benchmarks.serving import serving
from tests.benchmarks.start import starting
from tests.benchmarks.statistics import statistics as covering
from tests.benchmarks.ten import memorising
from tests.benchmarks.train import training
from tests.benchmarks.upload import uploading
from tests.benchmarks.watch import watching

ROOT = Path(__file__).parents[2]


def main() -> None:
    print(f"{'benchmark':34} {'ours':>12} {'peer':>12} {'ours/peer':>10}")
    command_start()
    training()
    preferring()
    forecasting()
    memorising()
    one_fact()
    checking()
    near_duplicates()
    starting()
    uploading()
    submitting(seeds=100)
    watching()
    comparing()
    covering([])
    generating()
    serving()


def report(name: str, ours: list[float], peer: list[float], unit: str) -> None:
    a, b = statistics.median(ours), statistics.median(peer)
    print(f"{name:34} {a:9.1f} {unit:2} {b:9.1f} {unit:2} {a / b:10.2f}", flush=True)


def alternately(
    ours: Callable[[], float], peer: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def command_start() -> None:
    """Whole processes: our help against an interpreter that does nothing.  Limit: 150 ms."""

    def milliseconds(*words: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        return 1000 * (time.perf_counter() - began)

    ours, peer = alternately(
        lambda: milliseconds("-m", "ftjobs", "--help"), lambda: milliseconds("-c", "pass"), 11
    )
    report("ftjobs --help / python -c pass", ours, peer, "ms")


if __name__ == "__main__":
    main()
