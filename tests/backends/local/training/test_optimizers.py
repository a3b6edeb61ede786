"""Every optimiser and schedule: what they compute, and that a resume changes no bit of it."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.loop import Run, Step
from ftjobs.backends.local.training.optimizers import learning_rate, optimizer_for
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, examples

torch_optim = torch.optim
REFERENCES: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": lambda p, **s: torch_optim.AdamW(p, **s, fused=False, foreach=False),
    "adam": lambda p, **s: torch_optim.Adam(p, **s, fused=False, foreach=False),
    "adadelta": lambda p, **s: torch_optim.Adadelta(p, **s, foreach=False),
    "rmsprop": lambda p, **s: torch_optim.RMSprop(p, **s, alpha=0.9, momentum=0.9, foreach=False),
    "sgd": lambda p, **s: torch_optim.SGD(
        p, **s, momentum=0.9, nesterov=True, fused=False, foreach=False
    ),
}
"""As torch defines them, one parameter after another."""
RATES = {"adadelta": 1.0, "sgd": 0.1}
NAMES = [*REFERENCES, "adamw_8bit"]


def stepped(
    build: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer], rate: float, steps: int = 6
) -> torch.Tensor:
    """Where steps down a fixed random landscape lead, over two parameters of 5,120 numbers."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(64, 80, generator=generator)) for _ in range(2)]
    optimizer = build(parameters)
    for number in range(steps):
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.grad = 0.1 * noise + 0.01 * parameter.detach()
        for group in optimizer.param_groups:
            group["lr"] = rate / (number + 1)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def recipe(name: str, **changes: Any) -> Recipe:
    rate = RATES.get(name, 1e-2)
    return dataclasses.replace(RECIPE, optimizer=name, learning_rate=rate, **changes)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("name", REFERENCES)
def test_fast_kernels_compute_what_torch_defines(name: str, decay: float) -> None:
    rate = RATES.get(name, 1e-2)
    ours = stepped(lambda p: optimizer_for(p, recipe(name, weight_decay=decay)), rate)
    wanted = stepped(lambda p: REFERENCES[name](p, lr=0.0, weight_decay=decay), rate)
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_pulls_towards_zero(name: str) -> None:
    rate = RATES.get(name, 1e-2)
    free, pulled = (
        stepped(lambda p: optimizer_for(p, recipe(name, weight_decay=decay)), rate)  # noqa: B023
        for decay in (0.0, 0.5)
    )
    assert pulled.norm() < 0.999 * free.norm()


def test_moments_of_8_bits_stay_close_to_adamw_and_are_not_it() -> None:
    exact, rounded = (stepped(lambda p: optimizer_for(p, recipe(n)), 1e-2) for n in NAMES[::5])  # noqa: B023
    start = stepped(lambda p: optimizer_for(p, recipe("adamw")), 0.0)
    assert not torch.equal(exact, rounded)
    assert (rounded - exact).norm() < 0.1 * (exact - start).norm()


def test_without_bitsandbytes_8_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)  # as if it were not installed
    with pytest.raises(TrainingError, match="needs bitsandbytes") as caught:
        optimizer_for([torch.nn.Parameter(torch.zeros(2))], recipe("adamw_8bit"))
    assert caught.value.param == "optimizer"
    assert "ftjobs[bitsandbytes]" in caught.value.hint


# --- the rate ---------------------------------------------------------------------------------

schedules = st.sampled_from(["linear", "cosine", "constant"])
totals = st.integers(1, 10_000)


@given(schedules, totals, st.data())
def test_the_rate_rises_to_its_peak_and_falls_to_something_above_0(
    schedule: str, total: int, data: st.DataObject
) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    made = dataclasses.replace(
        RECIPE, learning_rate=2e-4, warmup_steps=warmup, lr_scheduler_type=schedule
    )
    rates = [learning_rate(made, number, total) for number in range(1, total + 1)]
    assert rates[warmup] == max(rates) == 2e-4
    assert min(rates) > 0
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert len(set(rates[: warmup + 1])) == warmup + 1
    assert len(set(rates[warmup:])) == (1 if schedule == "constant" else total - warmup)


def test_linear_rises_and_falls_in_equal_steps() -> None:
    made = dataclasses.replace(RECIPE, learning_rate=1.0, warmup_steps=4)
    rates = [learning_rate(made, number, 20) for number in range(1, 21)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[4:] == pytest.approx([left / 16 for left in range(16, 0, -1)])


@given(totals, st.data())
def test_cosine_is_half_a_wave(total: int, data: st.DataObject) -> None:
    warmup = data.draw(st.integers(0, total - 1))
    number = data.draw(st.integers(warmup + 1, total))
    made = dataclasses.replace(
        RECIPE, learning_rate=1.0, warmup_steps=warmup, lr_scheduler_type="cosine"
    )
    passed = (number - warmup - 1) / (total - warmup)
    wanted = (1 + math.cos(math.pi * passed)) / 2
    assert learning_rate(made, number, total) == pytest.approx(wanted, abs=1e-12)


def test_a_hundred_million_steps_still_end_above_0() -> None:
    made = dataclasses.replace(RECIPE, learning_rate=1e-4, lr_scheduler_type="cosine")
    assert learning_rate(made, 10**9, 10**9) > 0


# --- the resume -------------------------------------------------------------------------------


def run_of(folder: Path, made: Recipe) -> Run:
    model = models.load_model(folder, dtype=made.dtype, device="cpu")
    return Run(add_adapter(model, made), made, examples(7))


def taken(run: Run) -> list[Step]:
    return [dataclasses.replace(step, seconds=0.0) for step in run]


@pytest.mark.parametrize(
    ("name", "schedule"), [*zip(NAMES, ["linear", "cosine", "constant"] * 2, strict=True)]
)
def test_a_resume_in_mid_epoch_changes_no_bit(
    tiny_model: Path, tmp_path: Path, name: str, schedule: str
) -> None:
    """Through a file, after every step but the last."""
    made = recipe(
        name, lr_scheduler_type=schedule, weight_decay=0.1, batch_size=2, n_epochs=1,
        lora_r=64,  # below 4,096 numbers, bitsandbytes keeps moments in 32 bits
    )  # fmt: skip
    whole = run_of(tiny_model, made)
    unbroken = taken(whole)
    assert len(unbroken) == 4
    run = run_of(tiny_model, made)
    broken = []
    for number in range(1, 5):
        broken += [dataclasses.replace(next(iter(run)), seconds=0.0)]
        checkpoints.save_state(tmp_path / f"state-step-{number}", run.state(), {})
        run = run_of(tiny_model, made)
        found = checkpoints.newest_state(tmp_path)
        assert found is not None
        run.restore(found[0])
    assert broken == unbroken
    mine, wanted = run.state(), whole.state()
    assert mine.keys() == wanted.keys()
    assert len(mine) > 2 * len(run.parameters)
    assert all(torch.equal(mine[key], wanted[key]) for key in wanted)


def test_every_optimiser_goes_its_own_way(tiny_model: Path) -> None:
    found = set()
    for name in NAMES:
        run = run_of(tiny_model, recipe(name, weight_decay=0.3, n_epochs=1, lora_r=64))
        taken(run)
        found.add(
            sum(float(parameter.detach().abs().sum()) for parameter in run.parameters.values())
        )
    assert len(found) == len(NAMES)
