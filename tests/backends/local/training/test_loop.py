"""The loop is exact: its loss, its accumulation, its resume."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ftjobs.backends.local import models
from ftjobs.backends.local.training import loop
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import Supervised
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from ftjobs.errors import TrainingError

RECIPE = Recipe(
    n_epochs=2,
    batch_size=4,
    learning_rate=1e-2,
    warmup_steps=2,
    lora_r=4,
    lora_alpha=8,
    lora_dropout=0.1,
    seed=7,
    dtype="float32",
    device="cpu",
    threads=1,
)


def examples(count: int = 10, *, seed: int = 0) -> list[Tokens]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        size = int(torch.randint(5, 40, (1,), generator=generator))
        ids = torch.randint(0, 256, (size,), generator=generator).tolist()
        made.append(Tokens(tuple(ids), tuple(i > size // 2 for i in range(size)), index + 1))
    return made


def adapted(folder: Path, recipe: Recipe = RECIPE) -> Any:
    model = models.load_model(folder, dtype=recipe.dtype, device="cpu")
    return add_adapter(model, recipe)


def weights(run: loop.Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.state().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_loss_is_that_of_the_whole_model(tiny_model: Path) -> None:
    """Head on supervised positions and right padding change nothing: compare with transformers."""
    model, chosen = models.load_model(tiny_model, dtype="float32", device="cpu"), examples(5)
    measure = Supervised(Padded(model)).measure(chosen)
    loss, hits = measure.loss, measure.hits
    total, count, right = 0.0, 0, 0
    for tokens in chosen:  # one at a time, unpadded, full logits, transformers' own loss
        ids = torch.tensor([tokens.ids])
        labels = torch.where(torch.tensor([tokens.supervised]), ids, -100)
        output = model(input_ids=ids, labels=labels)
        total += output.loss.item() * tokens.targets
        count += tokens.targets
        predicted = output.logits[0, :-1].argmax(-1)
        right += int(((predicted == ids[0, 1:]) & (labels[0, 1:] != -100)).sum())
    assert loss.item() / count == pytest.approx(total / count, rel=1e-6)
    assert hits == right


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_micro_batches_change_nothing_but_rounding(tiny_model: Path, budget: int) -> None:
    """Gradients divide by the step's supervised tokens, however the step is cut."""
    recipe = dataclasses.replace(RECIPE, lora_dropout=0.0, micro_batch_tokens=budget)
    model = adapted(tiny_model, recipe)
    run = loop.Run(model, recipe, examples())
    run.accumulator.measure(run.train[:6], 1, learn=True)
    targets = sum(item.weight for item in run.train[:6])
    for name, parameter in run.parameters.items():
        if "lora_B" not in name:
            continue
        cut = parameter.grad
        assert cut is not None
        parameter.grad = None
        whole = run.accumulator.objective.measure(run.train[:6]).loss
        (gradient,) = torch.autograd.grad(whole / targets, parameter)
        torch.testing.assert_close(cut, gradient, rtol=1e-4, atol=1e-7)
        break


def test_the_adapter_starts_as_nothing_and_only_it_moves(tiny_model: Path) -> None:
    base = models.load_model(tiny_model, dtype="float32", device="cpu")
    before = {name: value.clone() for name, value in base.state_dict().items()}
    ids = torch.tensor([examples(1)[0].ids])
    plain = base(input_ids=ids).logits
    run = loop.Run(add_adapter(base, RECIPE), RECIPE, examples())
    run.model.eval()
    assert torch.equal(run.model(input_ids=ids).logits, plain)
    for _ in run:
        pass
    for name, value in run.model.get_base_model().state_dict().items():
        if "lora_" not in name:
            assert torch.equal(value, before[name.replace(".base_layer", "")]), name
    assert all(
        parameter.abs().sum() > 0 for name, parameter in run.parameters.items() if "lora_B" in name
    )
    assert not any("lm_head" in name for name in run.parameters)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 5])
def test_resume_is_exact_at_every_step(tiny_model: Path, stop_at: int) -> None:
    """Also in mid-epoch, also with dropout, also for what is measured."""
    valid = examples(6, seed=9)
    whole = loop.Run(adapted(tiny_model), RECIPE, examples(), valid)
    unbroken = [dataclasses.replace(step, seconds=0.0) for step in whole]

    first = loop.Run(adapted(tiny_model), RECIPE, examples(), valid)
    broken = []
    for step in first:
        broken.append(dataclasses.replace(step, seconds=0.0))
        if step.number == stop_at:
            break
    second = loop.Run(adapted(tiny_model), RECIPE, examples(), valid)
    second.restore(weights(first))
    broken += [dataclasses.replace(step, seconds=0.0) for step in second]
    assert broken == unbroken
    assert same(weights(second), weights(whole))


def test_the_seed_decides_everything(tiny_model: Path) -> None:
    def final(seed: int) -> dict[str, torch.Tensor]:
        recipe = dataclasses.replace(RECIPE, seed=seed)
        run = loop.Run(adapted(tiny_model, recipe), recipe, examples())
        torch.rand(3)  # nobody else's random numbers matter
        for _ in run:
            torch.rand(1)
        return weights(run)

    assert same(final(1), final(1))
    assert not same(final(1), final(2))


def test_it_learns(tiny_model: Path) -> None:
    recipe = dataclasses.replace(RECIPE, n_epochs=30, lora_r=16, lora_alpha=32, lora_dropout=0.0)
    run = loop.Run(adapted(tiny_model, recipe), recipe, examples(4))
    steps = list(run)
    first, last = steps[0].train, steps[-1].train
    assert first is not None
    assert last is not None
    assert first.loss == pytest.approx(math.log(264), rel=0.1)  # it knew nothing
    assert first.accuracy < 0.1
    assert last.accuracy == 1.0


def test_validation_is_measured_when_it_should_be(tiny_model: Path) -> None:
    recipe = dataclasses.replace(RECIPE, validations=3)
    steps = list(loop.Run(adapted(tiny_model, recipe), recipe, examples(), examples(3, seed=1)))
    assert [step.number for step in steps if step.full_valid] == [3, 6]
    assert [step.number for step in steps if step.valid] == [2, 4, 6]
    assert [step.ends_epoch for step in steps] == [False, False, True] * 2
    assert steps[-1].valid == steps[-1].full_valid  # three examples are all of them


def test_a_loss_that_is_not_finite_stops_with_its_step(tiny_model: Path) -> None:
    recipe = dataclasses.replace(RECIPE, learning_rate=float("inf"), warmup_steps=0)
    run = loop.Run(adapted(tiny_model, recipe), recipe, examples())
    with pytest.raises(TrainingError, match="at step 2") as caught:
        list(run)
    assert caught.value.code == "loss_not_finite"
