"""Training and answers on a GPU: `make test ARGS=tests/gpu`.  docs/gpu.md says what to expect."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from ftjobs.backends.local import models
from ftjobs.backends.local.answers.engine import Engine
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training import execution, joined, loop
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Tokens
from ftjobs.schema import Job
from tests.backends.local.answers.asking import Ask, alone
from tests.backends.local.answers.test_batch import together
from tests.backends.local.conftest import write_dataset
from tests.backends.local.test_jobs import finish, submit
from tests.backends.local.training.test_loop import RECIPE, examples

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: docs/gpu.md")
CUDA = dataclasses.replace(RECIPE, device="cuda", lora_dropout=0.0, n_epochs=4)
GIB = 2**30


def opened(folder: Path, recipe: Recipe) -> Any:
    model = models.load_model(folder, dtype=recipe.dtype, device="cuda")
    return execution.arrange(add_adapter(model, recipe), recipe)


def trained(folder: Path, **changes: Any) -> tuple[list[float], loop.Run]:
    recipe = dataclasses.replace(CUDA, **changes)
    run = loop.Run(opened(folder, recipe), recipe, examples())
    return [step.train.loss for step in run if step.train], run


def on_cpu(folder: Path) -> list[float]:
    recipe = dataclasses.replace(CUDA, device="cpu")
    model = add_adapter(models.load_model(folder, dtype="float32", device="cpu"), recipe)
    run = loop.Run(model, recipe, examples())
    return [step.train.loss for step in run if step.train]


def test_float32_learns_what_the_cpu_learns(tiny_model: Path) -> None:
    losses, _ = trained(tiny_model)
    assert losses == pytest.approx(on_cpu(tiny_model), rel=2e-3)


@pytest.mark.parametrize(
    ("dtype", "near"), [("bfloat16", 0.03), ("float16", 0.01), ("int8", 0.06), ("int4", 0.1)]
)
def test_every_type_of_weights_learns(tiny_model: Path, dtype: str, near: float) -> None:
    """The first loss is near float32's, and it falls; adapters stay float32."""
    if dtype == "bfloat16" and models.pick_dtype("cuda") != "bfloat16":
        pytest.skip("this GPU does not multiply bfloat16")
    losses, run = trained(tiny_model, dtype=dtype)
    assert losses[0] == pytest.approx(on_cpu(tiny_model)[0], rel=near)
    assert losses[-1] < losses[0] - 0.15
    assert {p.dtype for p in run.parameters.values()} == {torch.float32}
    assert {p.device.type for p in run.parameters.values()} == {"cuda"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_joined_examples_score_as_padded_ones(tiny_model: Path, dtype: str) -> None:
    """In float16 through torch's varlen attention, values and gradients."""
    recipe = dataclasses.replace(CUDA, dtype=dtype)
    model, chosen = opened(tiny_model, recipe), examples(8)
    parameters = [p for n, p in model.named_parameters() if "lora_B" in n]
    wanted = Padded(model).score(chosen)
    gradients = torch.autograd.grad(wanted.logprobs.sum(), parameters)
    scorer = scorer_for(model, recipe)
    assert isinstance(scorer, joined.Joined)
    found = scorer.score(chosen)
    relative, absolute = (1e-3, 1e-3) if dtype == "float32" else (0.02, 0.05)
    torch.testing.assert_close(found.logprobs, wanted.logprobs, rtol=relative, atol=absolute)
    for ours, theirs in zip(
        torch.autograd.grad(found.logprobs.sum(), parameters), gradients, strict=True
    ):
        assert torch.dist(ours, theirs) < 0.05 * theirs.norm()


def test_a_run_resumes(tiny_model: Path) -> None:
    """What is restored is exact; sums may round differently from run to run."""
    unbroken, _ = trained(tiny_model)
    first = loop.Run(opened(tiny_model, CUDA), CUDA, examples())
    losses = [step.train.loss for step in islice(iter(first), 5) if step.train]
    second = loop.Run(opened(tiny_model, CUDA), CUDA, examples())
    second.restore({name: value.cpu().clone() for name, value in first.state().items()})
    for name, value in second.parameters.items():
        assert torch.equal(value, first.parameters[name])
    assert losses + [step.train.loss for step in second if step.train] == pytest.approx(
        unbroken, rel=1e-3
    )


def test_activations_computed_again_take_less_memory(tiny_model: Path) -> None:
    def peak(**changes: Any) -> int:
        recipe = dataclasses.replace(CUDA, batch_size=64, micro_batch_tokens=1 << 15, **changes)
        many = [Tokens((7,) * 500, (True,) * 500, n) for n in range(64)]
        run = loop.Run(opened(tiny_model, recipe), recipe, many)
        torch.cuda.reset_peak_memory_stats()
        next(iter(run))
        return torch.cuda.max_memory_allocated()

    assert peak(gradient_checkpointing=True) < peak() * 0.7


@pytest.fixture
def _one_gib() -> Iterator[None]:
    """This process gets a GiB of the GPU's memory."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(GIB / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("_one_gib")
def test_where_memory_ends_less_is_computed_at_once(tiny_model: Path) -> None:
    many = [Tokens((7,) * 500, (True,) * 500, n) for n in range(600)]
    recipe = dataclasses.replace(CUDA, batch_size=600, micro_batch_tokens=600 * 500, n_epochs=1)
    run = loop.Run(opened(tiny_model, recipe), recipe, many)
    first = next(iter(run)).train
    assert run.accumulator.tokens < recipe.micro_batch_tokens
    small = dataclasses.replace(recipe, micro_batch_tokens=4096)
    other = next(iter(loop.Run(opened(tiny_model, small), small, many))).train
    assert first
    assert other
    assert first.loss == pytest.approx(other.loss, rel=1e-4)


def test_a_compiled_model_learns_the_same(tiny_model: Path) -> None:
    plain, _ = trained(tiny_model)
    compiled, run = trained(tiny_model, torch_compile=True)
    assert compiled == pytest.approx(plain, rel=5e-3)
    assert all(block._compiled_call_impl for block in execution.blocks(run.model))


def test_answers_in_a_batch_are_those_given_alone(tiny_model: Path) -> None:
    engine = Engine(tiny_model, dtype="float32", device="cuda")
    asks = [Ask("one"), Ask("a longer question than that, of many words"), Ask("日本語")]
    assert together(engine, asks) == {n: alone(engine, ask) for n, ask in enumerate(asks)}


def losses_of(backend: LocalBackend, job: Job) -> list[float | None]:
    return [e.metrics.train_loss for e in backend.events(job.id) if e.metrics]


def test_a_whole_job_learns_on_the_gpu(
    tmp_path: Path, tiny_model: Path, backends: list[LocalBackend]
) -> None:
    one, _ = backends
    job = submit(one, tiny_model, write_dataset(tmp_path / "train.jsonl", 24))
    job = finish(one, job)
    assert job.status == "succeeded", job.error
    assert any(" on cuda, seed 11" in event.message for event in one.events(job.id))
    losses = losses_of(one, job)
    assert losses[0]
    assert losses[-1]
    assert losses[-1] < losses[0] * 0.95


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: docs/gpu.md")
def test_two_gpus_train_what_one_trains(
    tmp_path: Path, tiny_model: Path, backends: list[LocalBackend]
) -> None:
    dataset = write_dataset(tmp_path / "train.jsonl", 24)
    hyperparameters = {"n_epochs": 2, "batch_size": 8, "dtype": "float32"}
    found = []
    for backend in backends:
        job = submit(backend, tiny_model, dataset, hyperparameters=hyperparameters)
        job = finish(backend, job)
        assert job.status == "succeeded", job.error
        found.append(losses_of(backend, job))
    assert found[1] == pytest.approx(found[0], rel=1e-3)
