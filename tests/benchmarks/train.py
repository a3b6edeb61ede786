"""Against TRL's SFTTrainer and Unsloth: `python -m tests.benchmarks.train [bfloat16|float32]`.

64 ragged chat rows, SmolLM2-135M, LoRA r = 16 on every linear layer, 8 examples a step, the same
tokens and masks, the same learning rates.  Each side runs in a process of its own, one after the
other; medians over the steps but the first two.  Limits: 4 times TRL's non-padding tokens a second
in bfloat16, 2 times in float32, held-out loss within 1 %, 2.5 GB.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import peers

ROOT = Path(__file__).parents[2]
ROWS, BATCH, EPOCHS, RATE = 64, 8, 2, 2e-4
LIMITS = {"bfloat16": 4.0, "float32": 2.0}


def training(dtypes: Sequence[str] = tuple(LIMITS)) -> None:
    """Print one line for each dtype, and the share of what the machine can multiply."""
    from ftjobs.backends.local import models

    base = models.prepare(models.DEFAULT_MODEL, _cache())
    with tempfile.TemporaryDirectory() as folder:
        rows, held = Path(folder) / "rows.jsonl", Path(folder) / "held.jsonl"
        tokens = _write(rows, "train.jsonl", base.folder)
        _write(held, "valid.jsonl", base.folder)
        print(f"{ROWS} rows of {min(tokens)} to {max(tokens)} tokens, {sum(tokens):,} in all")
        for dtype in dtypes:
            words = (base.folder, rows, held, BATCH, EPOCHS, RATE, dtype)
            ours = [_ours(*words)]
            theirs = _theirs("trl", *words)
            ours.append(_ours(*words))
            _report(dtype, ours, theirs, sum(tokens))
        if "bfloat16" in dtypes:
            _against_unsloth((base.folder, rows, held, BATCH, 1, RATE, "bfloat16"))


def _against_unsloth(words: Sequence[object]) -> None:
    ours = statistics.median(_ours(*words)["seconds"][2:])
    ratio = statistics.median(_theirs("unsloth", *words)["seconds"][2:]) / ours
    print(f"bfloat16 against Unsloth on this CPU: {ratio:.2f} times (limit 1.5)", flush=True)


def _report(dtype: str, ours: list[dict[str, Any]], theirs: dict[str, Any], tokens: int) -> None:
    step = tokens / (ROWS / BATCH)  # in the mean: both sides shuffle
    mine = [step / statistics.median(run["seconds"][2:]) for run in ours]
    peer = step / statistics.median(theirs["seconds"][2:])
    ratio = statistics.mean(mine) / peer
    held = [run["held"] for run in ours]
    print(
        f"{dtype}: {mine[0]:.0f} and {mine[1]:.0f} tokens/s, TRL {peer:.0f}: {ratio:.2f} times "
        f"(limit {LIMITS[dtype]:g})\n"
        f"  held-out loss {held[0]:.4f}, TRL {theirs['held']:.4f} "
        f"({100 * (held[0] / theirs['held'] - 1):+.2f} %, limit 1 %)\n"
        f"  peak memory {ours[0]['peak_mb']:,.0f} MB, TRL {theirs['peak_mb']:,.0f} MB "
        f"(limit 2,500)\n"
        f"  {100 * mine[0] * ours[0]['flops'] / ours[0]['gemm']:.0f} % of the "
        f"{ours[0]['gemm'] / 1e9:,.0f} GFLOP/s that this machine multiplies (aim 25 %)",
        flush=True,
    )


def _cache() -> Path:
    return Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))


def _write(path: Path, name: str, folder: Path) -> list[int]:
    """Rendered rows, for both sides; the length of each."""
    from ftjobs import data
    from ftjobs.backends.local import models
    from ftjobs.backends.local.training.render import Renderer

    tokenizer = models.load_tokenizer(folder)
    renderer = Renderer(tokenizer, models.stop_ids(tokenizer, folder), 8192)
    examples = list(data.read(ROOT / "datasets" / "support" / name))[:ROWS]
    rendered = [renderer.example(example) for example in examples]
    lines = [
        json.dumps(
            {
                "ids": row.ids,
                "supervised": row.supervised,
                "labels": [
                    token if learned else -100
                    for token, learned in zip(row.ids, row.supervised, strict=True)
                ],
            }
        )
        for row in rendered
    ]
    path.write_text("\n".join(lines), "utf-8")
    return [len(row.ids) for row in rendered]


def _ours(*words: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.train", "--ours", *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _theirs(peer: str, *words: object) -> dict[str, Any]:
    said = peers.run(peer, "peer_sft.py", peer, *map(str, words))
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


def _measure(words: Sequence[str]) -> None:
    """What one of our processes does."""
    import torch

    from ftjobs.backends.local import models
    from ftjobs.backends.local.training.adapter import add_adapter
    from ftjobs.backends.local.training.loop import Run
    from ftjobs.backends.local.training.recipe import Recipe
    from ftjobs.backends.local.training.render import Tokens

    folder, rows, held, batch, epochs, rate, dtype = words
    read = [
        [Tokens(tuple(row["ids"]), tuple(row["supervised"])) for row in map(json.loads, lines)]
        for lines in (Path(name).read_text("utf-8").splitlines() for name in (rows, held))
    ]
    recipe = Recipe(
        n_epochs=int(epochs), batch_size=int(batch), learning_rate=float(rate), warmup_steps=0,
        lora_r=16, lora_alpha=32, lora_dropout=0.0, seed=1, dtype=dtype, device="cpu",
        threads=torch.get_num_threads(),
    )  # fmt: skip
    model = models.load_model(Path(folder), dtype=dtype, device="cpu")
    run = Run(add_adapter(model, recipe), recipe, read[0])
    seconds = [step.seconds for step in run]
    loss = run.evaluate(read[1]).loss
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # Forward and the gradient of the input: 2 operations each for every weight.
    flops = 4 * sum(value.numel() for value in model.parameters() if not value.requires_grad)
    print(json.dumps({
        "seconds": seconds, "held": loss, "peak_mb": peak, "flops": flops, "gemm": _gemm(dtype),
    }))  # fmt: skip


def _gemm(dtype: str) -> float:
    """The most operations a second of a large matrix product."""
    import torch

    a = torch.randn(2048, 2048).to(getattr(torch, dtype))
    best = 1e9
    for _ in range(12):
        began = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - began)
    return float(2 * 2048**3 / best)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        _measure(sys.argv[2:])
    else:
        training(sys.argv[1:] or tuple(LIMITS))
