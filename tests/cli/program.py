"""`ftjobs` as a program over a scripted backend with one job, for tests that need a terminal.

    python program.py STEPS [ARGUMENTS]

The file named by CANCELLED appears if anybody cancels a job.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ftjobs.backends.base import Tools
from ftjobs.backends.fake import FakeBackend
from ftjobs.cli import main
from ftjobs.client import Client
from ftjobs.schema import ChatMessage, Delta, Job, Sampling

PLAIN = Sampling()
TRAIN = Path(__file__).parents[2] / "datasets/support/train.jsonl"


class _Backend(FakeBackend):
    """Asked to "hang", the tuned model does so after a word; asked to "split", all answer by
    single characters; asked "how", they say how they are drawn."""

    def stream(
        self,
        model: str,
        messages: Sequence[ChatMessage],
        *,
        sampling: Sampling = PLAIN,
        tools: Tools = (),
    ) -> Iterator[Delta]:
        question = messages[-1].content
        if question == "how":
            drawn = sampling.model_dump(mode="json", exclude_defaults=True)
            yield Delta(content=f"drawn={json.dumps(drawn)}", finish_reason="stop")
            return
        for delta in super().stream(model, messages, sampling=sampling):
            pieces = delta.content if question == "split" else [delta.content]
            yield from (delta.model_copy(update={"content": piece}) for piece in pieces)
            if (question, model) == ("hang", "fake-tuned"):
                threading.Event().wait()

    def cancel(self, job_id: str) -> Job:
        Path(os.environ["CANCELLED"]).touch()
        return super().cancel(job_id)


def run(steps: int, *args: str) -> int:
    """Run one command; its exit code."""
    models = ("fake-base", "fake-tuned")
    client = Client(_Backend(steps=steps, models=models, answers=_answer))
    client.submit(TRAIN, model="fake-base", suffix="s", metadata={"team": "a b"})
    return main(args, connect=lambda settings: client)


def _answer(model: str, messages: Sequence[ChatMessage]) -> str:
    if messages[-1].content == "split":
        return "\x1b]0;title\x07\x1b[31mred\x1b[0m 学習率"
    return f"turns={len(messages)}"


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), *sys.argv[2:]))
