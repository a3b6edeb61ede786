"""Submissions in bad weather: ftjobs beside the plain SDK, on the same faults.

    python -m tests.benchmarks.faults --seeds 1000      # the table
    python -m tests.benchmarks.faults --seed 17         # one seed again, with all that befell it

A seed is one submission, from the check of the data to the job's end; see `tests.faults`.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.faults.drive import Script, Verdict, ours, plain, try_seed

ROWS: Sequence[tuple[str, Callable[[Verdict], int]]] = (
    ("jobs beyond one for an intent", lambda v: max(0, v.created - 1)),
    ("  … left to run, and paid", lambda v: v.surplus),
    ("jobs lost", lambda v: v.lost),
    ("events lost", lambda v: v.events_lost),
    ("events repeated", lambda v: v.events_repeated),
    ("events out of order", lambda v: v.disorder),
    ("files beyond one", lambda v: v.files_doubled),
    ("hangs", lambda v: v.hung),
    ("ended with an error", lambda v: bool(v.problem)),
    ("submissions without any of these", lambda v: v.is_clean),
)
SCRIPTS: dict[str, Script] = {"ftjobs": ours, "SDK": plain}
WORKERS = 6  # they mostly wait


def main() -> int:
    options = _options()
    if options.seed is not None:
        verdict = try_seed(options.seed, SCRIPTS[options.who])
        print(*verdict.log, verdict, sep="\n")
        return not verdict.is_clean
    return min(1, submitting(seeds=options.seeds, first=options.first))


def submitting(*, seeds: int, first: int = 0) -> int:
    """Print the table, and ftjobs' verdicts that are not clean; how many those are."""
    began = time.monotonic()
    chosen = range(first, first + seeds)
    results = {name: run_all(chosen, script) for name, script in SCRIPTS.items()}
    print(table(results))
    print(f"{seeds} submissions each, {time.monotonic() - began:.0f} s", flush=True)
    unclean = [verdict for verdict in results["ftjobs"] if not verdict.is_clean]
    for verdict in unclean:
        print(verdict)
    return len(unclean)


def run_all(seeds: Iterable[int], script: Script) -> list[Verdict]:
    """The verdicts of many seeds, a few at a time in processes of their own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.drive", "openai"])
    with ProcessPoolExecutor(WORKERS, context, initializer=_be_quiet) as pool:
        return list(pool.map(partial(try_seed, script=script), seeds))


def _be_quiet() -> None:
    """Keep the outages that ftjobs tells of out of the table."""
    logging.getLogger("ftjobs").setLevel(logging.ERROR)


def table(results: dict[str, list[Verdict]]) -> str:
    """One row a fault, one column a client."""
    lines = [f"{'':34}" + "".join(f"{name:>10}" for name in results)]
    for title, measure in ROWS:
        sums = [sum(map(measure, verdicts)) for verdicts in results.values()]
        lines.append(f"{title:34}" + "".join(f"{number:10}" for number in sums))
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this one alone, with its log")
    parser.add_argument("--who", choices=SCRIPTS, default="ftjobs", help="for --seed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
