"""Memory that runs out halves what is computed at once, and changes nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ftjobs.backends.local.training.loop import Run
from ftjobs.backends.local.training.objectives import Item, Measure, Objective, objective_for
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, adapted, examples, same, weights

CALM = dataclasses.replace(RECIPE, lora_dropout=0.0)


class Room:
    """An objective on a machine that has room for so many tokens at once."""

    def __init__(self, inner: Objective[Item], tokens: int, error: type[Exception]) -> None:
        self.inner, self.tokens, self.error = inner, tokens, error
        self.pads = inner.pads
        self.refused: list[int] = []
        self.measured: list[int] = []

    def measure(self, items: Sequence[Item]) -> Measure:
        size = sum(item.size for item in items)
        if self.pads:
            size = len(items) * max(item.size for item in items)
        if size > self.tokens:
            self.refused.append(size)
            raise self.error("can't allocate memory: you tried to allocate 8 bytes")
        self.measured.append(size)
        return self.inner.measure(items)


def run_in(folder: Path, tokens: int, error: type[Exception], recipe: Recipe = CALM) -> Run:
    model = adapted(folder, recipe)
    room = Room(objective_for(model, recipe), tokens, error)
    return Run(model, recipe, examples(), examples(6, seed=3), objective=room)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError, MemoryError])
def test_a_run_without_room_is_one_that_is_cut_smaller(
    tiny_model: Path, error: type[Exception]
) -> None:
    run = run_in(tiny_model, 50, error)
    steps = [dataclasses.replace(step, seconds=0.0) for step in run]
    assert run.accumulator.tokens <= 50
    assert run.accumulator.objective.refused  # type: ignore[attr-defined]
    recipe = dataclasses.replace(CALM, micro_batch_tokens=run.accumulator.tokens)
    small = Run(adapted(tiny_model, recipe), recipe, examples(), examples(6, seed=3))
    assert steps == [dataclasses.replace(step, seconds=0.0) for step in small]
    assert same(weights(run), weights(small))


def test_memory_runs_out_before_the_first_step_or_not_at_all(tiny_model: Path) -> None:
    """The largest micro-batches of the whole run are the first that are computed."""
    run = run_in(tiny_model, 50, torch.OutOfMemoryError)
    room = run.accumulator.objective
    assert isinstance(room, Room)
    steps = iter(run)
    next(steps)
    refused, first = list(room.refused), room.measured[:2]  # of training, of validation
    list(steps)
    assert room.refused == refused
    assert max(first) == max(room.measured)


def test_what_was_halved_stays_so_after_a_resume(tiny_model: Path) -> None:
    whole = run_in(tiny_model, 50, torch.OutOfMemoryError)
    list(whole)
    first = run_in(tiny_model, 50, torch.OutOfMemoryError)
    next(iter(first))
    second = Run(adapted(tiny_model, CALM), CALM, examples(), examples(6, seed=3))
    second.restore(weights(first))  # on a machine where there is room
    list(second)
    assert same(weights(second), weights(whole))


def test_no_memory_for_the_longest_example_fails_with_its_length(tiny_model: Path) -> None:
    longest = max(item.size for item in [*examples(), *examples(6, seed=3)])
    run = run_in(tiny_model, longest - 1, torch.OutOfMemoryError)
    with pytest.raises(TrainingError, match=f"no memory for an example of {longest} tokens") as e:
        next(iter(run))
    assert e.value.code == "out_of_memory"
    assert run.done == 0
    steps = list(run_in(tiny_model, longest, torch.OutOfMemoryError))
    assert steps[-1].number == steps[-1].total


def test_another_error_is_not_taken_for_memory(tiny_model: Path) -> None:
    run = run_in(tiny_model, 50, ValueError)
    with pytest.raises(ValueError, match="allocate"):
        list(run)
    run = run_in(tiny_model, 10**9, RuntimeError)
    run.accumulator.objective.measure = _broken  # type: ignore[method-assign, assignment]
    with pytest.raises(RuntimeError, match="something else"):
        list(run)


def _broken(_items: Sequence[Item]) -> Measure:
    raise RuntimeError("something else")


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_rehearsal_changes_no_bit(tiny_model: Path, dropout: float) -> None:
    """Neither weights nor random numbers: not of the run, and not where the run's are drawn."""
    recipe = dataclasses.replace(RECIPE, lora_dropout=dropout, micro_batch_tokens=60)
    with_it = Run(adapted(tiny_model, recipe), recipe, examples())
    steps = [dataclasses.replace(step, seconds=0.0) for step in with_it]
    without = Run(adapted(tiny_model, recipe), recipe, examples())
    taken = [without._step(number) for number in range(1, without.total + 1)]
    assert [dataclasses.replace(step, seconds=0.0) for step in taken] == steps
    assert same(weights(with_it), weights(without))


def test_the_rehearsal_leaves_no_gradient_behind(tiny_model: Path) -> None:
    run = Run(adapted(tiny_model), RECIPE, examples())
    before = weights(run)
    run._rehearse()
    assert same(weights(run), before)
    assert all(parameter.grad is None for parameter in run.parameters.values())


def test_the_largest_micro_batch_is_looked_for_in_every_epoch(tiny_model: Path) -> None:
    """Other epochs put other examples together."""
    recipe = dataclasses.replace(CALM, n_epochs=5, batch_size=2, micro_batch_tokens=10_000)
    run = run_in(tiny_model, 10**9, torch.OutOfMemoryError, recipe)
    run._rehearse()
    room = run.accumulator.objective
    assert isinstance(room, Room)
    costs = [
        run.accumulator._cost([run.train[i] for i in run._places(number)[1]])
        for number in range(1, run.total + 1)
    ]
    assert room.measured[0] == max(costs)
    assert max(costs) > max(costs[: run.per_epoch])  # so it is not in the first epoch


# --- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "kind"), [(1, "lora_B"), (2, "lora_A")])
def test_layers_that_the_loss_does_not_reach_fail_the_run(
    tiny_model: Path, number: int, kind: str
) -> None:
    run = Run(adapted(tiny_model), RECIPE, examples())
    cut = [p for name, p in run.parameters.items() if kind in name and "layers.0" in name]
    total = sum(kind in name for name in run.parameters)
    steps = iter(run)
    for _ in range(number - 1):
        next(steps)
    for parameter in cut:
        parameter.register_hook(torch.zeros_like)
    with pytest.raises(TrainingError, match=f"{len(cut)} of {total} .* at step {number}") as caught:
        next(steps)
    assert caught.value.code == "gradient_missing"
