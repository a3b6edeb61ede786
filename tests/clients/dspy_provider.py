"""DSPy's fine-tuning provider of OpenAI: a program's traces become a tuned model that it then asks.

    python dspy_provider.py MODEL

It polls every 20 seconds without a way to say otherwise, so its own clock goes faster here.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import dspy
import dspy.clients.openai as provider
from dspy.clients.utils_finetune import TrainDataFormat


class Clock:
    """`time`, with shorter rests."""

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / 40)


def main(model: str) -> None:
    provider.time = Clock
    data: list[dict[str, Any]] = [
        {
            "messages": [
                {"role": "user", "content": f"{n} + 1?"},
                {"role": "assistant", "content": f"{n + 1}"},
            ]
        }
        for n in range(12)
    ]
    lm = dspy.LM(f"openai/{model}", temperature=0, max_tokens=12, cache=False)
    assert lm("1 + 1?") is not None
    job = lm.finetune(data, TrainDataFormat.CHAT, train_kwargs={"n_epochs": 2})
    tuned = job.result(timeout=300)
    assert not isinstance(tuned, Exception), tuned
    assert job.status() == "succeeded"
    print(tuned.model)
    assert isinstance(tuned("1 + 1?")[0], str)
    other = lm.finetune(data, TrainDataFormat.CHAT, train_kwargs={"n_epochs": 50})
    while other.provider_job_id is None:
        time.sleep(0.05)
    other.cancel()
    assert other.provider_file_id is None, "its file was not deleted"


if __name__ == "__main__":
    main(*sys.argv[1:])
