"""Speed, as ratios within one run: `make bench`.  Never part of the tests.

Each benchmark measures ours and a peer alternately and prints medians.  Read the ratios: the
machine's own speed drifts.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.check import checking
from tests.benchmarks.compare import comparing
from tests.benchmarks.faults import submitting
from tests.benchmarks.generate import generating
from tests.benchmarks.near import near_duplicates
from tests.benchmarks.start import starting
from tests.benchmarks.statistics import statistics as covering
from tests.benchmarks.upload import uploading
from tests.benchmarks.watch import watching

ROOT = Path(__file__).parents[2]


def main() -> None:
    print(f"{'benchmark':34} {'ours':>12} {'peer':>12} {'ours/peer':>10}")
    command_start()
    training()
    checking()
    near_duplicates()
    starting()
    uploading()
    submitting(seeds=100)
    watching()
    comparing()
    covering([])
    generating()


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


def training() -> None:
    """Our step against the usual one: padded batch, attention mask, all logits, same adapter."""
    import torch

    from ftjobs import data
    from ftjobs.backends.local import models
    from ftjobs.backends.local.training import loop
    from ftjobs.backends.local.training.adapter import add_adapter
    from ftjobs.backends.local.training.recipe import Recipe
    from ftjobs.backends.local.training.render import Renderer

    cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
    base = models.prepare(models.DEFAULT_MODEL, cache)
    tokenizer = models.load_tokenizer(base.folder)
    renderer = Renderer(tokenizer, models.stop_ids(tokenizer, base.folder), 8192)
    rows = data.read(ROOT / "datasets" / "support" / "train.jsonl")
    examples = [renderer.example(example) for example in rows]
    recipe = Recipe(
        n_epochs=1, batch_size=8, learning_rate=1e-4, warmup_steps=0, lora_r=16, lora_alpha=32,
        lora_dropout=0.0, seed=1, dtype=models.pick_dtype("cpu"), device="cpu",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    model = models.load_model(base.folder, dtype=recipe.dtype, device="cpu")
    run = loop.Run(add_adapter(model, recipe), recipe, examples)
    optimizer = torch.optim.AdamW(run.parameters.values(), lr=1e-4)
    steps = iter(run)

    def ours() -> float:
        step = next(steps)
        return step.tokens / step.seconds

    def peer() -> float:
        chosen = random.sample(examples, recipe.batch_size)
        longest = max(len(tokens.ids) for tokens in chosen)
        ids = torch.zeros(len(chosen), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for row, tokens in enumerate(chosen):
            size = len(tokens.ids)
            ids[row, :size] = torch.tensor(tokens.ids)
            mask[row, :size] = 1
            kept = torch.tensor(tokens.supervised)
            labels[row, :size] = torch.where(kept, ids[row, :size], -100)
        began = time.perf_counter()
        loss = run.model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return int(mask.sum()) / (time.perf_counter() - began)

    ours(), peer()  # warm up
    report("training step / usual (tokens/s)", *alternately(ours, peer, 7), "")


if __name__ == "__main__":
    main()
