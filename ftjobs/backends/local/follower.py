"""The other processes of a group: they train what rank 0's job trains, step by step.

They know nothing of the store.  What they need of a job comes from rank 0; the base model is each
machine's own.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ftjobs.backends.local import models
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.bleu import Exam
from ftjobs.backends.local.training.execution import arrange
from ftjobs.backends.local.training.loop import Run
from ftjobs.backends.local.training.objectives import Item
from ftjobs.backends.local.training.processes import Alone, Together
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import FtjobsError, TrainingError


@dataclass(frozen=True)
class Order:
    """What to train, and from where: the base model by its name, `state` as `Run.state` gave it."""

    model: str
    fingerprint: str
    recipe: Recipe
    train: Sequence[Item]
    valid: Sequence[Item]
    state: Mapping[str, torch.Tensor] | None
    labels: tuple[str, ...] = ()
    exam: Exam | None = None


def start(order: Order, model: Any, processes: Alone) -> Run:
    """Rank 0's run, or that of the only process, over the base model that it has loaded."""
    processes.start(order)
    with processes.computing():
        return _run(order, model, processes)


def follow(processes: Together, cache: Path) -> None:
    """Train whatever rank 0 trains, until it says that there is nothing more.

    Raises:
        GroupLost: another process of the group is gone.
    """
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)  # rank 0 hears it too, and tells us when to stop
    while (order := processes.receive()) is not None:
        if isinstance(order, Order):
            try:
                _follow(order, processes, cache)
            except FtjobsError:  # rank 0 has it too, and fails the job
                traceback.print_exc()


def _follow(order: Order, processes: Together, cache: Path) -> None:
    with processes.computing():
        base = models.prepare(order.model, cache)
        if base.fingerprint != order.fingerprint:
            raise TrainingError(
                f"{order.model} is another model here than on the first machine",
                code="base_model_changed",
                param="model",
            )
        recipe = order.recipe
        model = models.load_model(
            base.folder,
            dtype=recipe.dtype,
            device=recipe.device,
            labels=order.labels,
            seed=recipe.seed,
        )
        run = _run(order, model, processes)
    for _ in run:
        pass


def _run(order: Order, model: Any, processes: Alone) -> Run:
    recipe = order.recipe
    # A job that began alone had all cores: a process of a group keeps to its share of them.
    alone = processes.size == 1
    torch.set_num_threads(recipe.threads if alone else min(recipe.threads, torch.get_num_threads()))
    run = Run(
        arrange(add_adapter(model, recipe), recipe),
        recipe,
        order.train,
        order.valid,
        processes=processes,
        exam=order.exam,
    )
    if order.state is not None:
        run.restore(order.state)
    return run
