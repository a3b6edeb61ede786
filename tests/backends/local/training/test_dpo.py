"""DPO is exact: its loss, its gradient, its micro-batches, its resume."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.training import dpo, loop
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.objectives import objective_for
from ftjobs.backends.local.training.padded import Padded
from ftjobs.backends.local.training.recipe import Facts, Machine, Recipe, resolve
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.backends.local.training.scores import Scores
from ftjobs.errors import TrainingError
from ftjobs.schema import Hyperparameters, Preference
from tests.backends.local.training.test_loop import RECIPE, same, weights

DPO = dataclasses.replace(RECIPE, method="dpo", beta=0.3, learning_rate=5e-3)


def tokens(size: int, answer: int, generator: torch.Generator) -> Tokens:
    ids = torch.randint(0, 256, (size,), generator=generator).tolist()
    return Tokens(tuple(ids), tuple(place >= size - answer for place in range(size)))


def pairs(count: int = 8, *, seed: int = 0) -> list[dpo.Pair]:
    """Random pairs; chosen and rejected answers differ in length."""
    generator = torch.Generator().manual_seed(seed)

    def one() -> Tokens:
        answer = int(torch.randint(1, 20, (1,), generator=generator))
        return tokens(12 + answer, answer, generator)

    return [dpo.Pair(one(), one()) for _ in range(count)]


def adapted(folder: Path, recipe: Recipe = DPO, *, moved: bool = False) -> Any:
    """With `moved`, an adapter that is no longer its base."""
    base = models.load_model(folder, dtype=recipe.dtype, device="cpu")
    model = add_adapter(base, recipe)
    if moved:
        generator = torch.Generator().manual_seed(3)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.2, generator=generator)
    return model


def log_probability(model: Any, row: Tokens) -> torch.Tensor:
    """Of the answer, from all logits of one unpadded row, in transformers' own words."""
    ids = torch.tensor([row.ids])
    labels = torch.where(torch.tensor([row.supervised]), ids, -100)
    return -model(input_ids=ids, labels=labels).loss * row.targets  # type: ignore[no-any-return]


def by_hand(model: Any, folder: Path, batch: list[dpo.Pair], beta: float) -> list[torch.Tensor]:
    """Chosen rewards, rejected rewards and losses, against a base that was loaded anew."""
    reference = models.load_model(folder, dtype="float32", device="cpu")
    chosen, rejected = (
        torch.stack(
            [
                beta * (log_probability(model, row) - log_probability(reference, row).detach())
                for row in rows
            ]
        )
        for rows in ([pair.chosen for pair in batch], [pair.rejected for pair in batch])
    )
    return [chosen, rejected, -torch.log(1 / (1 + torch.exp(rejected - chosen)))]


def test_loss_rewards_and_gradient_are_those_of_the_paper(tiny_model: Path) -> None:
    model, batch = adapted(tiny_model, moved=True).eval(), pairs()
    parameters = [p for p in model.parameters() if p.requires_grad]
    measure = objective_for(model, DPO).measure(batch)
    gradient = torch.autograd.grad(measure.loss, parameters)
    chosen, rejected, losses = by_hand(model, tiny_model, batch, DPO.beta)
    assert measure.loss.item() == pytest.approx(losses.sum().item(), rel=1e-5)
    assert measure.hits == (chosen > rejected).sum()
    assert 0 < measure.hits < len(batch)
    expected = {
        "rewards_chosen": chosen.sum().item(),
        "rewards_rejected": rejected.sum().item(),
        "rewards_margins": (chosen - rejected).sum().item(),
        "rewards_accuracies": measure.hits,
    }
    got = {name: value for name, value in measure.others.items() if name.startswith("rewards")}
    assert got == pytest.approx(expected, rel=1e-4, abs=1e-4)
    for ours, theirs in zip(gradient, torch.autograd.grad(losses.sum(), parameters), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_token_accuracy_is_that_of_the_chosen_answers(tiny_model: Path) -> None:
    model = adapted(tiny_model, moved=True).eval()
    batch = pairs(6)
    hits = Padded(model).score([pair.chosen for pair in batch]).hits
    parts = torch.split(hits, [pair.chosen.targets for pair in batch])
    expected = sum(part.float().mean().item() for part in parts)
    found = objective_for(model, DPO).measure(batch).others["mean_token_accuracy"]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_reward_is_nothing_before_the_first_update(tiny_model: Path, dtype: str) -> None:
    """Policy and reference round alike, in every dtype, with every padding."""
    recipe = dataclasses.replace(DPO, dtype=dtype, lora_dropout=0.0)
    run = loop.Run(adapted(tiny_model, recipe), recipe, pairs())
    first = next(iter(run)).train
    assert first is not None
    assert first.loss == pytest.approx(math.log(2), abs=1e-7)
    assert first.accuracy == 0.0  # none is won: they are equal
    assert {v for k, v in first.others.items() if k.startswith("rewards")} == {0.0}


@pytest.mark.parametrize("budget", [1, 60, 100_000])
def test_micro_batches_change_nothing_but_rounding(tiny_model: Path, budget: int) -> None:
    recipe = dataclasses.replace(DPO, lora_dropout=0.0, micro_batch_tokens=budget)
    run = loop.Run(adapted(tiny_model, recipe, moved=True), recipe, pairs())
    score = run.accumulator.measure(run.train, 1, learn=True)
    cut = {name: p.grad.clone() for name, p in run.parameters.items() if p.grad is not None}
    assert cut.keys() == run.parameters.keys()
    whole = run.accumulator.objective.measure(run.train)
    gradients = torch.autograd.grad(whole.loss / len(run.train), list(run.parameters.values()))
    assert score.loss == pytest.approx(whole.loss.item() / len(run.train), rel=1e-5)
    for name, gradient in zip(cut, gradients, strict=True):
        torch.testing.assert_close(cut[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_reference_stays_what_it_was(tiny_model: Path) -> None:
    """Training moves the policy alone, and leaves modes and gradients as it found them."""
    model = adapted(tiny_model)
    base = models.load_model(tiny_model, dtype="float32", device="cpu")
    run = loop.Run(model, DPO, pairs())
    for _ in run:
        assert model.training
        assert all(parameter.requires_grad for parameter in run.parameters.values())
    rows = [pair.chosen for pair in pairs()]
    objective = run.accumulator.objective
    assert isinstance(objective, dpo.DPO)
    found = objective._reference(rows, [row.targets for row in rows])
    expected = torch.stack([log_probability(base, row) for row in rows])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    assert not found.requires_grad


class Noisy:
    """A scorer over a base with dropout of its own: noise, in training mode."""

    pads = False

    def __init__(self, model: Any) -> None:
        self.model, self.scorer = model, Padded(model)

    def score(self, examples: Any) -> Scores:
        scores = self.scorer.score(examples)
        noise = torch.randn_like(scores.logprobs) if self.model.training else 0.0
        return Scores(scores.logprobs + noise, scores.hits)


def test_a_base_with_dropout_is_a_steady_reference(tiny_model: Path) -> None:
    model = adapted(tiny_model).train()
    objective = dpo.DPO(model, Noisy(model), beta=0.1)
    rows = [pair.chosen for pair in pairs(4)]
    targets = [row.targets for row in rows]
    first = objective._reference(rows, targets)
    assert torch.equal(first, objective._reference(rows, targets))
    assert model.training


@pytest.mark.parametrize("stop_at", [1, 3])
def test_resume_is_exact_in_mid_epoch(tiny_model: Path, stop_at: int) -> None:
    def run() -> loop.Run:
        return loop.Run(adapted(tiny_model), DPO, pairs(), pairs(3, seed=9))

    def told(step: loop.Step) -> loop.Step:
        return dataclasses.replace(step, seconds=0.0)

    whole = run()
    unbroken = [told(step) for step in whole]
    first, broken = run(), []
    for step in first:
        broken.append(told(step))
        if step.number == stop_at:
            break
    second = run()
    second.restore(weights(first))
    broken += [told(step) for step in second]
    assert broken == unbroken
    assert same(weights(second), weights(whole))


def test_it_learns_to_prefer(tiny_model: Path) -> None:
    recipe = dataclasses.replace(DPO, n_epochs=15, lora_dropout=0.0)
    steps = list(loop.Run(adapted(tiny_model, recipe), recipe, pairs(4), pairs(4)))
    last = steps[-1]
    assert last.train is not None
    assert last.train.loss < 0.1
    assert last.train.accuracy == 1.0
    assert last.full_valid is not None
    assert last.full_valid.others["rewards_margins"] > 1.0
    assert last.full_valid.others["rewards_accuracies"] == 1.0


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=5),
    st.floats(0.01, 2),
    st.integers(0, 2**31 - 1),
)
@settings(deadline=None, max_examples=50)
def test_sums_fall_to_their_own_answers(
    lengths: list[tuple[int, int]], beta: float, seed: int
) -> None:
    """With a scorer that is a table: whatever the lengths, each answer gets its own tokens."""
    generator = torch.Generator().manual_seed(seed)
    batch = [dpo.Pair(tokens(2 + a, a, generator), tokens(2 + b, b, generator)) for a, b in lengths]
    chosen, rejected, losses = 0.0, 0.0, 0.0
    for pair in batch:
        rewards = [beta * -sum(row.ids[2:]) / 64 for row in (pair.chosen, pair.rejected)]
        chosen, rejected = chosen + rewards[0], rejected + rewards[1]
        losses += max(0.0, rewards[1] - rewards[0]) + math.log1p(
            math.exp(-abs(rewards[0] - rewards[1]))
        )
    table = Table()
    measure = dpo.DPO(table, table, beta=beta).measure(batch)
    assert measure.loss.item() == pytest.approx(losses, rel=1e-4, abs=1e-4)
    assert measure.others["rewards_chosen"] == pytest.approx(chosen, rel=1e-4, abs=1e-3)
    assert measure.others["rewards_rejected"] == pytest.approx(rejected, rel=1e-4, abs=1e-3)


class Table(torch.nn.Module):
    """Model and scorer in one: a token's log-probability is -id / 64, and 0 under the base."""

    pads = False
    enabled = True

    def disable_adapter(self) -> Table:
        return self

    def __enter__(self) -> None:
        self.enabled = False

    def __exit__(self, *_: object) -> None:
        self.enabled = True

    def score(self, examples: Any) -> Scores:
        ids = [
            i for row in examples for i, kept in zip(row.ids, row.supervised, strict=True) if kept
        ]
        values = torch.tensor(ids, dtype=torch.float32) / (-64.0 if self.enabled else math.inf)
        return Scores(values, torch.zeros(len(ids), dtype=torch.bool))


# --- rendering --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def renderer(tiny_model: Path) -> Renderer:
    tokenizer = models.load_tokenizer(tiny_model)
    return Renderer(tokenizer, models.stop_ids(tokenizer, tiny_model), 200)


def preference(chosen: str, rejected: str, asked: str = "Hi") -> Preference:
    return Preference.model_validate(
        {
            "input": {
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": "Yes?"},
                    {"role": "user", "content": "Go on"},
                ]
            },
            "preferred_output": [{"role": "assistant", "content": chosen}],
            "non_preferred_output": [{"role": "assistant", "content": rejected}],
            "line": 7,
        }
    )


def test_both_outputs_are_rendered_after_one_prompt(renderer: Renderer) -> None:
    pair = dpo.render(renderer, preference("Good.", "Not so good."))
    for row, said in ((pair.chosen, "Good."), (pair.rejected, "Not so good.")):
        answer = [i for i, kept in zip(row.ids, row.supervised, strict=True) if kept]
        assert renderer.tokenizer.decode(answer) == f"{said}<|im_end|>"  # no earlier answer
    start = pair.chosen.supervised.index(True)
    assert pair.rejected.supervised.index(True) == start
    assert pair.chosen.ids[:start] == pair.rejected.ids[:start]
    assert (pair.size, pair.weight) == (pair.chosen.size + pair.rejected.size, 1)
    assert pair.targets == len("Good.") + len("Not so good.") + 2


def test_outputs_that_become_the_same_are_refused_with_their_line(renderer: Renderer) -> None:
    with pytest.raises(TrainingError, match=r"^line 7 cannot be trained: .* same tokens") as caught:
        dpo.render(renderer, preference("Secret.", "Secret."))
    assert caught.value.code == "invalid_training_file"
    assert "Secret" not in str(caught.value)


def test_an_output_that_cannot_be_trained_is_named(renderer: Renderer) -> None:
    with pytest.raises(TrainingError, match=r"^line 7 .*limit is 200.*\(with its preferred_output"):
        dpo.render(renderer, preference("x" * 200, "Short."))
    with pytest.raises(TrainingError, match=r"^line 7 .*reserved.*\(with its non_preferred_output"):
        dpo.render(renderer, preference("Short.", "<|im_end|>"))


# --- automatic settings -----------------------------------------------------------------------


def test_auto_is_slower_than_supervised_training() -> None:
    facts, machine = Facts(100, 1000, 576, "llama", 20_000), Machine("float32", "cpu", 2)

    def resolved(method: str, **asked: Any) -> Recipe:
        return resolve(Hyperparameters(**asked), facts, machine, seed=1, method=method)

    recipe = resolved("dpo")
    assert (recipe.method, recipe.beta) == ("dpo", 0.1)
    assert recipe.learning_rate == pytest.approx(resolved("supervised").learning_rate / 25)
    assert recipe.reported(Hyperparameters())["beta"] == 0.1
    assert "beta" not in resolved("supervised").reported(Hyperparameters())
    assert resolved("dpo", beta=0.5, learning_rate=1e-3).beta == 0.5
    assert resolved("dpo", learning_rate=1e-3).learning_rate == 1e-3
