"""64 answers of 64 tokens, half of them a tuned model's: together, and one at a time.

python -m tests.benchmarks.generate    # prints; `generating()` is for the whole run

Ours is one batch of a base and its adapter over one model in memory.  The peers are the same
engine asked for one answer at a time, and `generate` of transformers on the base alone.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from ftjobs import data
from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.answers.batch import answers
from ftjobs.backends.local.answers.engine import Engine, Question
from ftjobs.backends.local.answers.gathered import Answered
from ftjobs.backends.local.training import loop
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.schema import Sampling

ROOT = Path(__file__).parents[2]
GREEDY = Sampling(temperature=0, max_tokens=64)
TOPICS = (
    "cats gravity Rome bread chess rivers Python tea volcanoes jazz bees trains maps ice salt owls"
)
FORMS = (
    "Tell me about {}.",
    "Write a story about {} for a child of seven, and let it end well. Keep it simple, please.",
)
PEER_ANSWERS = 8  # of transformers' own `generate`, which is as slow for every one


def generating(rounds: int = 3) -> None:
    """Print speeds, their ratio (limit: 8), and how many texts are the same.

    In float32 that must be all of them.  In bfloat16, which keeps 8 bits, two tokens are often
    equally likely, and a sum that is rounded otherwise decides between them.
    """
    base = models.prepare(models.DEFAULT_MODEL, _cache())
    kinds = dict.fromkeys(("float32", models.pick_dtype("cpu")))
    print("64 answers of 64 tokens          together  one at a time  ratio  generate  same texts")
    for dtype in kinds:
        with tempfile.TemporaryDirectory() as folder:
            adapter = tuned(base.folder, Path(folder) / "adapter", dtype)
            engine = Engine(base.folder, dtype=dtype, device="cpu")
            compare(engine, questions(engine, adapter), dtype, rounds)


def compare(engine: Engine, asked: list[Question], dtype: str, rounds: int) -> None:
    list(answers(engine, list(enumerate(asked[::16]))))  # warm up
    speeds = []
    for _ in range(rounds):
        rate, batch = together(engine, asked)
        speeds.append(rate)
    alone, single = one_at_a_time(engine, asked)
    same = sum(a.texts == b.texts for a, b in zip(batch, single, strict=True))
    ours, peer = statistics.median(speeds), transformers_generate(asked[:PEER_ANSWERS], engine)
    print(
        f"    {dtype:22} {ours:9.1f} t/s {alone:9.1f} t/s {ours / alone:6.1f} {peer:5.1f} t/s "
        f"{same:4} of {len(asked)}",
        flush=True,
    )


def together(engine: Engine, asked: list[Question]) -> tuple[float, list[Answered]]:
    """Tokens a second, and the answers in the order of the questions."""
    began = time.perf_counter()
    found = dict(answers(engine, list(enumerate(asked))))
    seconds = time.perf_counter() - began
    given = [each for _, each in sorted(found.items()) if isinstance(each, Answered)]
    assert len(given) == len(asked)
    return tokens(given) / seconds, given


def one_at_a_time(engine: Engine, asked: list[Question]) -> tuple[float, list[Answered]]:
    given = []
    began = time.perf_counter()
    for question in asked:
        writers, text, reason = question.writers(), "", ""
        for delta in engine.answer(question, writers):
            text += delta.content
            reason = delta.finish_reason or reason
        given.append(Answered((text,), (reason,), question.usage(writers)))
    return tokens(given) / (time.perf_counter() - began), given


def transformers_generate(asked: list[Question], engine: Engine) -> float:
    model = models.load_model(engine.folder, dtype=str(engine.model.dtype)[6:], device="cpu")
    written, began = 0, time.perf_counter()
    for question in asked:
        prompt = torch.tensor([question.prompt])
        output = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=GREEDY.max_tokens,
            do_sample=False,
        )
        written += output.shape[1] - prompt.shape[1]
    return written / (time.perf_counter() - began)


def tokens(given: list[Answered]) -> int:
    return sum(each.usage.completion_tokens for each in given)


def questions(engine: Engine, adapter: Path) -> list[Question]:
    """The same prompts for the base and for its adapter, in turn."""
    prompts = [form.format(topic) for topic in TOPICS.split() for form in FORMS]
    return [
        engine.question([{"role": "user", "content": prompt}], GREEDY, adapter=model)
        for prompt in prompts
        for model in (None, adapter)
    ]


def tuned(base: Path, folder: Path, dtype: str) -> Path:
    """An adapter after a few steps on the dataset of a shop's support."""
    recipe = Recipe(
        n_epochs=1, batch_size=16, learning_rate=2e-4, warmup_steps=0, lora_r=16, lora_alpha=32,
        lora_dropout=0.0, seed=1, dtype=dtype, device="cpu", threads=torch.get_num_threads(),
    )  # fmt: skip
    engine = Engine(base, dtype=dtype, device="cpu")
    rows = data.read(ROOT / "datasets" / "support" / "train.jsonl")
    renderer = engine.renderer(None)
    run = loop.Run(
        add_adapter(engine.model, recipe), recipe, [renderer.example(row) for row in rows]
    )
    list(run)
    checkpoints.save_adapter(folder, run.model, renderer.tokenizer, {"base_model": base.name})
    return folder


def _cache() -> Path:
    return Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))


if __name__ == "__main__":
    generating()
