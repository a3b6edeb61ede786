"""`ftjobs` as a program over a scripted backend with one job, for tests that need a terminal.

    python program.py STEPS [ARGUMENTS]

The file named by CANCELLED appears if anybody cancels a job.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.schema import Job

TRAIN = Path(__file__).parents[2] / "datasets/support/train.jsonl"


class _Backend(FakeBackend):
    def cancel(self, job_id: str) -> Job:
        Path(os.environ["CANCELLED"]).touch()
        return super().cancel(job_id)


def run(steps: int, *args: str) -> int:
    """Run one command; its exit code."""
    client = Client(_Backend(steps=steps, answers=lambda model, messages: _answer(messages)))
    client.submit(TRAIN, model="fake-base", suffix="s", metadata={"team": "a b"})
    return main(args, connect=lambda settings: client)


def _answer(messages: object) -> str:
    return f"turns={len(messages)}"  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), *sys.argv[2:]))
