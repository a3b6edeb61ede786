"""How far off the forecast of memory and time is: `python -m tests.benchmarks.fit`.

SmolLM2-135M in bfloat16 and float32, each on short rows and on one example of 2,000 tokens, and a
tiny random Llama.  Every run is a process of its own: memory is its largest resident set.  Aims:
20 % for memory, a factor of 1.5 for the time of a step, on a machine that does nothing else.
"""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHORT, LONG = [200, 210, 220, 190, 230, 180, 240, 170], [2000]
STEPS = 4


def forecasting() -> None:
    """Print a line for each case: foretold, measured, and how far apart."""
    from ftjobs.backends.local import models
    from tests import tiny

    cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
    real = models.prepare(models.DEFAULT_MODEL, cache).folder
    with tempfile.TemporaryDirectory() as folder:
        small = tiny.save_model(Path(folder) / "tiny")
        cases = [(real, dtype, rows) for dtype in ("bfloat16", "float32") for rows in (SHORT, LONG)]
        for base, dtype, rows in [*cases, (small, "float32", SHORT)]:
            words = [sys.executable, "-m", "tests.benchmarks.fit", str(base), dtype]
            done = subprocess.run(
                [*words, json.dumps(rows)], check=True, capture_output=True, text=True, cwd=ROOT
            )
            print(done.stdout.splitlines()[-1], flush=True)


def _case(folder: Path, dtype: str, lengths: Sequence[int]) -> None:
    """Train a few steps, and hold the forecast against them."""
    import torch

    from ftjobs.backends.local import models
    from ftjobs.backends.local.fit import memory, probe, speed
    from ftjobs.backends.local.fit.shape import read_shape
    from ftjobs.backends.local.training import batches
    from ftjobs.backends.local.training.adapter import add_adapter
    from ftjobs.backends.local.training.loop import Run
    from ftjobs.backends.local.training.recipe import Recipe
    from ftjobs.backends.local.training.render import Tokens

    recipe = Recipe(
        n_epochs=STEPS, batch_size=len(lengths), learning_rate=1e-4, warmup_steps=0, lora_r=16,
        lora_alpha=32, lora_dropout=0.0, seed=1, dtype=dtype, device="cpu",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    shape, draw = read_shape(folder), random.Random(0)
    rows = [
        Tokens(
            tuple(draw.randrange(shape.vocabulary) for _ in range(n)),
            tuple(place >= n // 2 for place in range(n)),
        )
        for n in lengths
    ]
    groups = batches.micro_batches(lengths, budget=recipe.micro_batch_tokens, pads=False)
    at_once = max(sum(lengths[i] for i in group) for group in groups)
    need = memory.needed(shape, recipe, memory.Load(at_once, max(lengths), at_once // 2)).total

    model = models.load_model(folder, dtype=dtype, device="cpu")
    seconds = statistics.median(
        step.seconds for step in Run(add_adapter(model, recipe), recipe, rows)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pace = speed.computed(shape, recipe, probe.measure())
    rate = sum(lengths) / seconds
    print(
        f"{folder.name[:12]:12} {dtype:8} {max(lengths):5} tokens: {need / 1e9:.2f} GB foretold, "
        f"{peak / 1e9:.2f} measured ({100 * (need / peak - 1):+.0f} %); "
        f"{pace.rate if pace else 0:,.0f} tokens/s foretold, {rate:,.0f} measured"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _case(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
    else:
        forecasting()
