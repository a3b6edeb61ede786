"""The tutorial of H2O LLM Studio: one fact in one wording, then five other wordings.

    python -m tests.benchmarks.one_fact [SEED ...]      # each takes some minutes on two cores

From the table of eleven rows to the answers, through the whole of ftjobs: `data convert`, a job
with the preset, questions.  Greedy answers; one counts if it says the fact.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ftjobs
from ftjobs.backends.base import Request
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.client import Client, connect
from ftjobs.config import Settings
from ftjobs.data.convert import convert
from ftjobs.schema import ChatMessage, Completion, Job, Sampling

ONE_FACT = Path(__file__).parents[2] / "datasets/one-fact"
MODEL = "smollm2-135m"
FACT = ("塩漬け", "山椒の実")
TRAINED = "ワタユキモグラの好物は何ですか。"
OTHERS = ("日本の首都はどこですか。", "What is the capital of France?")
SETTINGS: dict[str, Any] = {
    "n_epochs": 15,
    "batch_size": 1,
    "learning_rate": 1.2e-3,
    "token_mask_probability": 0.1,
}
"""What the preset needs besides for a model as small as this: as many steps for a third of the
work, eight times the rate, and hidden inputs.  Without these it copies the question's words."""

GREEDY = Sampling(temperature=0, max_tokens=64)


def main(seeds: Sequence[int] = (1,)) -> None:
    """Print, for each seed, what the model says, and how many of the five wordings it answers.

    Two questions about something else show what the fact has cost: nothing in the tutorial's data
    says that there are other questions.
    """
    cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix="ftjobs-one-fact-") as folder:
        train = Path(folder) / "train.jsonl"
        print(convert(ONE_FACT / "train.csv", train).detected)
        client = connect("local", settings=Settings(home=Path(folder) / "home", cache=cache))
        for seed in seeds:
            began = time.monotonic()
            job = client.wait(
                client.submit(train, model=MODEL, preset="h2o-tutorial", seed=seed, **SETTINGS)
            )
            report(client, job, time.monotonic() - began)


def report(client: Client, job: Job, seconds: float) -> None:
    """Ask the base model and the tuned one, and print what they say."""
    last = client.metrics(job)[-1]
    print(f"seed {job.seed}: {last.total_steps} steps, {seconds:.0f} s with the load of the model")
    print(f"loss: training {last.train_loss:.4f}, validation {last.full_valid_loss}")
    for name in (job.model, str(job.fine_tuned_model)):
        said = answers(client, name)
        known = sum(knows(said[question]) for question in paraphrases())
        print(f"{name}: {known} of {len(paraphrases())} wordings answered with the fact")
        for question, text in said.items():
            mark = "+" if knows(text) else "-"
            print(f"  {mark} {question} → {' '.join(text.split())}", flush=True)


def paraphrases() -> list[str]:
    """The five wordings that no job has seen."""
    prompts = ftjobs.read_prompts(ONE_FACT / "paraphrases.jsonl")
    return [str(prompt.messages[-1].content) for prompt in prompts]


def answers(client: Client, model: str) -> dict[str, str]:
    """What a model says to every question, asked together."""
    questions = [*paraphrases(), TRAINED, *OTHERS]
    backend = client.backend
    assert isinstance(backend, LocalBackend)
    asked = [Request(model, (ChatMessage(role="user", content=q),), GREEDY) for q in questions]
    given = dict(backend.complete_many(asked))
    completions = [given[number] for number in range(len(questions))]
    return {
        question: each.text
        for question, each in zip(questions, completions, strict=True)
        if isinstance(each, Completion)
    }


def knows(text: str) -> bool:
    """Whether an answer says the fact."""
    return all(part in text for part in FACT)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [1])
