"""The tutorial's ten Japanese examples with automatic settings: how many are learned by heart?

    python -m tests.benchmarks.ten [SEED ...]      # seeds 1, 2 and 3; half a minute each

Each seed is a job by the worker; greedy answers that equal the expected text count.  Aim: 10 of 10.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ftjobs
from ftjobs.backends.base import Request
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.schema import Completion, Sampling

TEN = Path(__file__).parents[2] / "datasets/company-ja"
GREEDY = Sampling(temperature=0, max_tokens=64)


def memorising(seeds: Sequence[int] = (1, 2, 3)) -> None:
    """Print a line for each seed."""
    cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
    prompts = list(ftjobs.read_prompts(TEN / "prompts.jsonl"))
    with tempfile.TemporaryDirectory(prefix="ftjobs-ten-") as folder:
        backend = LocalBackend(Settings(home=Path(folder), cache=cache))
        client = ftjobs.Client(backend)
        for seed in seeds:
            began = time.monotonic()
            job = client.wait(client.submit(TEN / "train.jsonl", model="smollm2-135m", seed=seed))
            model = str(job.fine_tuned_model)
            asked = [Request(model, tuple(prompt.messages), GREEDY) for prompt in prompts]
            found = dict(backend.complete_many(asked))
            texts = [found[number] for number in range(len(prompts))]
            exact = sum(
                isinstance(each, Completion) and each.text.strip() == prompt.expected
                for each, prompt in zip(texts, prompts, strict=True)
            )
            print(
                f"ten Japanese examples, seed {seed}: {exact} of {len(prompts)} exact, "
                f"{time.monotonic() - began:.0f} s with starting the worker",
                flush=True,
            )


if __name__ == "__main__":
    memorising([int(seed) for seed in sys.argv[1:]] or (1, 2, 3))
