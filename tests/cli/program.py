"""`ftjobs` as a program over a scripted backend with one job, for tests that need a terminal.

    python program.py STEPS [ARGUMENTS]

What is left of the job when the command is over goes to the file named by JOB_AFTER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client

TRAIN = Path(__file__).parents[2] / "datasets/support/train.jsonl"


def run(steps: int, *args: str) -> int:
    """Run one command; its exit code."""
    client = Client(FakeBackend(steps=steps, answers=lambda model, messages: _answer(messages)))
    job = client.submit(TRAIN, model="fake-base", suffix="s")
    try:
        return main(args, connect=lambda settings: client)
    finally:
        Path(os.environ["JOB_AFTER"]).write_text(client.job(job).status, "utf-8")


def _answer(messages: object) -> str:
    return f"turns={len(messages)}"  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), *sys.argv[2:]))
