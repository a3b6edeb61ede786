"""One setting at a time around what `auto` chooses: `python -m tests.benchmarks.sweep [FILE]`.

SmolLM2-135M on the support set (16 and 64 rows; 14 held out) and the ten Japanese rows.  Prints,
and appends to FILE as JSON Lines, the mean loss of the last epoch and on held-out rows; runs that
are in FILE already are not run again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from ftjobs import data
from ftjobs.schema import Hyperparameters

ROOT = Path(__file__).parents[2]
SETS = {"ten": ("company-ja", 10), "sixteen": ("support", 16), "sixty-four": ("support", 64)}
FACTORS: dict[str, tuple[float, ...]] = {
    "learning_rate_multiplier": (0.25, 0.5, 1, 2, 4),
    "lora_r": (4, 16, 32),
    "batch_size": (1, 2, 4, 8),
    "n_epochs": (2, 4, 8),
}


def plans() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every run: its set, and what differs from `auto`."""
    for name in SETS:
        seen = set()
        for factor, values in FACTORS.items():
            for value in values:
                asked = (
                    {} if (factor, value) == ("learning_rate_multiplier", 1) else {factor: value}
                )
                if (key := json.dumps(asked)) not in seen:
                    seen.add(key)
                    yield name, asked


def measure(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Train once."""
    import torch

    from ftjobs.backends.local import models
    from ftjobs.backends.local.runner import data_facts
    from ftjobs.backends.local.training.adapter import add_adapter
    from ftjobs.backends.local.training.loop import Run
    from ftjobs.backends.local.training.recipe import Machine, resolve
    from ftjobs.backends.local.training.render import Renderer

    folder, count = SETS[name]
    cache = Path(os.environ.get("FTJOBS_CACHE", tempfile.gettempdir()))
    base = models.prepare(models.DEFAULT_MODEL, cache)
    tokenizer = models.load_tokenizer(base.folder)
    renderer = Renderer(tokenizer, models.stop_ids(tokenizer, base.folder), 8192)

    def rendered(file: str) -> list[Any]:
        path = ROOT / "datasets" / folder / file
        return [renderer.example(row) for row in data.read(path)] if path.exists() else []

    train, held = rendered("train.jsonl")[:count], rendered("valid.jsonl")
    dtype = models.pick_dtype("cpu")
    model = models.load_model(base.folder, dtype=dtype, device="cpu")
    recipe = resolve(
        Hyperparameters(**asked),
        data_facts(model, tokenizer, train),
        Machine(dtype, "cpu", torch.get_num_threads()),
        seed=1,
    )
    run = Run(add_adapter(model, recipe), recipe, train)
    steps = list(run)
    last = [step.train.loss for step in steps if step.train and step.epoch == steps[-1].epoch]
    return {
        "set": name, "asked": asked, "steps": len(steps), "learning_rate": recipe.learning_rate,
        "lora_r": recipe.lora_r, "batch_size": recipe.batch_size, "n_epochs": recipe.n_epochs,
        "last_epoch": round(mean(last), 4),
        "held_out": round(run.evaluate(held).loss, 4) if held else None,
    }  # fmt: skip


def main(place: Path | None) -> None:
    known = place.read_text("utf-8").splitlines() if place and place.exists() else []
    done = {(run["set"], json.dumps(run["asked"])) for run in map(json.loads, known)}
    for name, asked in plans():
        if (name, json.dumps(asked)) in done:
            continue
        line = json.dumps(measure(name, asked))
        print(line, flush=True)
        if place:
            with place.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
