"""What `test_processes` runs in two processes of torchrun: `ranks.py FOLDER`.

Rank 0 writes what it found to `FOLDER/found.json`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ftjobs.backends.local.training import loop
from ftjobs.backends.local.training.objectives import Measure, Objective, objective_for
from ftjobs.backends.local.training.processes import Alone, Together
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, adapted, examples

ONE_BY_ONE = dataclasses.replace(RECIPE, lora_dropout=0.1, micro_batch_tokens=1, batch_size=6)
"""Micro-batches that both ways cut alike, so that even dropout is the same."""
TOGETHER = dataclasses.replace(RECIPE, lora_dropout=0.0, micro_batch_tokens=1024, batch_size=6)
"""One micro-batch a step, which two processes must cut."""


class Failing:
    """An objective that fails where it is told to."""

    def __init__(self, inner: Objective[Any], error: Exception) -> None:
        self.inner, self.error, self.times, self.pads = inner, error, 1, inner.pads

    def measure(self, items: Sequence[Any]) -> Measure:
        if self.times:
            self.times -= 1
            raise self.error
        return self.inner.measure(items)


def train(
    model: Path, processes: Alone, recipe: Recipe, error: Exception | None = None, at: int = 1
) -> tuple[list[Any], loop.Run]:
    adapter = adapted(model, recipe)
    objective = objective_for(adapter, recipe)
    if error and processes.rank == at:
        objective = Failing(objective, error)
    valid = examples(5, seed=9)
    run = loop.Run(adapter, recipe, examples(13), valid, objective=objective, processes=processes)
    steps = [
        (s.train.loss, s.train.accuracy, s.full_valid and s.full_valid.loss) for s in run if s.train
    ]
    return steps, run


def tokens_at_once(run: loop.Run) -> int:
    return int(run.state()["micro_batch_tokens"])


def told(model: Path, processes: Alone, at: int) -> str:
    """How an error of one rank looks to this one."""
    try:
        train(model, processes, TOGETHER, TrainingError("too odd", code="odd"), at)
    except TrainingError as error:
        return f"{error.code}: {error}"
    return "nothing"


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    processes, model = Together(), folder / "model"
    steps, run = train(model, processes, ONE_BY_ONE)
    cut, whole = train(model, processes, TOGETHER)
    halved, smaller = train(model, processes, TOGETHER, torch.OutOfMemoryError("no"))
    train(model, processes, TOGETHER, MemoryError(), at=0)  # Python's own halves as well
    unused = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    if processes.rank:
        unused[0].grad = torch.ones(2)
    processes.add_gradients(unused)
    found = {
        "steps": steps,
        "cut": cut,
        "halved": halved,
        "tokens": [tokens_at_once(whole), tokens_at_once(smaller)],
        "weights": {name: p.flatten().tolist() for name, p in run.parameters.items()},
        "told": [told(model, processes, at) for at in (0, 1)],
        "unused": [p.grad if p.grad is None else p.grad.tolist() for p in unused],
        "sums": processes.add({"both": 1.5, f"of {processes.rank}": 2.0}),
        "settled": processes.settle(processes.rank),
    }
    everyones = processes._everyones(found)
    if processes.rank == 0:
        found["same"] = [
            all(each[key] == found[key] for each in everyones)
            for key in ("steps", "cut", "halved", "weights", "sums", "settled", "unused")
        ]
        found["others"] = everyones[1]["told"]
        (folder / "found.json").write_text(json.dumps(found), "utf-8")
    processes.dismiss()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
