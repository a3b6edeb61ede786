"""What was asked for is in force; what was not follows the rules, and says so."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local.training.recipe import Facts, Machine, Recipe, explain, resolve
from ftjobs.errors import TrainingError
from ftjobs.schema import Hyperparameters

FACTS = Facts(100, 1000, 576, "llama", adapter_parameters_per_rank=20_000, mask_token=3)
MACHINE = Machine("float32", "cpu", 2)
OTHER: dict[str, Any] = {
    "n_epochs": 3, "batch_size": 2, "learning_rate": 1e-4, "lora_r": 5, "lora_alpha": 9.0,
    "lora_dropout": 0.3, "optimizer": "sgd", "lr_scheduler_type": "cosine", "weight_decay": 0.2,
    "max_grad_norm": 0.5, "gradient_accumulation_steps": 3, "drop_last_batch": True,
    "lora_target_modules": ("q_proj", "v_proj"), "use_rslora": True, "use_dora": True,
    "token_mask_probability": 0.25, "gradient_checkpointing": True, "torch_compile": True,
    "evaluation_epochs": 0.5, "evaluate_before_training": True, "evaluation_metric": "perplexity",
    "save_best_checkpoint": True, "early_stopping_patience": 2, "beta": 0.3,
}  # fmt: skip
"""A value other than the default for every setting that a recipe has under its own name."""
ELSEWHERE = {
    "learning_rate_multiplier",  # in the learning rate
    "warmup_ratio",  # in warmup_steps
    "context_length", "validation_split", "train_on_inputs", "max_prompt_length",
    "max_completion_length", "chat_template",  # they decide the examples
    "dtype",  # asked of the machine
}  # fmt: skip


def recipe(facts: Facts = FACTS, **asked: Any) -> Recipe:
    return resolve(Hyperparameters(**asked), facts, MACHINE, seed=3)


@pytest.mark.parametrize("name", OTHER)
def test_what_is_asked_is_in_force(name: str) -> None:
    assert getattr(recipe(**{name: OTHER[name]}), name) == OTHER[name]
    assert getattr(recipe(), name) != OTHER[name]
    assert recipe(**OTHER).reported(Hyperparameters(**OTHER))[name] == OTHER[name]


def test_no_setting_is_forgotten() -> None:
    assert OTHER.keys() | ELSEWHERE == Hyperparameters.model_fields.keys()


def test_a_recipe_survives_its_way_through_a_file() -> None:
    made = recipe(**OTHER)
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_job_of_an_earlier_version_goes_on_as_it_began() -> None:
    """Its file has none of the newer settings: what was always so is the default."""
    known = (
        "n_epochs", "batch_size", "learning_rate", "warmup_steps", "lora_r", "lora_alpha",
        "lora_dropout", "seed", "dtype", "device", "threads", "weight_decay", "max_grad_norm",
    )  # fmt: skip
    made = Recipe.from_json({name: getattr(recipe(), name) for name in known})
    assert (made.optimizer, made.lr_scheduler_type, made.examples_per_step) == (
        "adamw", "linear", made.batch_size,
    )  # fmt: skip
    assert (made.use_dora, made.use_rslora, made.drop_last_batch) == (False, False, False)
    assert (made.token_mask_probability, made.lora_target_modules) == (0.0, ())


facts = st.builds(
    Facts,
    st.integers(1, 200_000),
    st.integers(1, 10_000_000),
    st.sampled_from([64, 576, 2048, 8192]),
    st.sampled_from(["llama", "qwen3"]),
    adapter_parameters_per_rank=st.integers(1000, 10_000_000),
)


@given(facts)
@settings(deadline=None)
def test_auto_stays_within_its_bounds(found: Facts) -> None:
    made = recipe(found)
    assert 1 <= made.n_epochs <= 10
    assert 1 <= made.batch_size <= 32
    assert 1e-4 <= made.learning_rate <= 1.5e-3
    assert 8 <= made.lora_r <= 128
    assert 0 <= made.warmup_steps <= 10
    assert made == recipe(found)


@given(facts, st.floats(0, 1, exclude_max=True), st.integers(1, 64), st.booleans())
@settings(deadline=None)
def test_a_warm_up_ends_before_the_last_step(
    found: Facts, ratio: float, accumulated: int, drop: bool
) -> None:
    asked = {"warmup_ratio": ratio, "gradient_accumulation_steps": accumulated}
    try:
        made = recipe(found, **asked, drop_last_batch=drop)
    except TrainingError as error:
        assert error.param == "drop_last_batch"  # noqa: PT017 — either is right
        return
    whole, rest = divmod(found.examples, made.examples_per_step)
    steps = made.n_epochs * (whole + (bool(rest) and not drop))
    assert 0 <= made.warmup_steps < steps
    assert abs(made.warmup_steps - ratio * steps) <= 1


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.1, 30), (0.5, 150), (0.999, 299)])
def test_warm_up_is_a_share_of_the_steps(ratio: float, steps: int) -> None:
    assert recipe(batch_size=1, n_epochs=3, warmup_ratio=ratio).warmup_steps == steps


def test_a_factor_on_the_rate() -> None:
    assert recipe(learning_rate_multiplier=0.5).learning_rate == recipe().learning_rate / 2


def test_the_automatic_batch_is_that_of_a_step() -> None:
    """Accumulating changes how a step is cut, not what it learns from."""
    assert recipe().examples_per_step == 4
    accumulated = recipe(gradient_accumulation_steps=2)
    assert (accumulated.batch_size, accumulated.examples_per_step) == (2, 4)
    assert accumulated.n_epochs == recipe().n_epochs
    assert accumulated.learning_rate == recipe().learning_rate


def test_dropping_the_last_batch_must_leave_one() -> None:
    assert recipe(batch_size=100, drop_last_batch=True).batch_size == 100
    with pytest.raises(TrainingError, match="102 examples and there are 100") as caught:
        recipe(batch_size=51, gradient_accumulation_steps=2, drop_last_batch=True)
    assert caught.value.param == "drop_last_batch"


def test_every_automatic_choice_is_explained() -> None:
    reasons = explain(Hyperparameters(), FACTS, recipe())
    assert reasons == [
        "batch_size 4: 4 of 100 examples in a step",
        "n_epochs 4: about 100 steps, in 3 to 10 passes",
        "learning_rate 0.001: 5e-4 * (2000 / 576) ** 0.781, kept within 1e-4 and 1e-3",
        "lora_r 8: 1,000 supervised tokens",
        "warmup_steps 5: 5 % of 100 steps, at most 10",
    ]


@given(facts, st.fixed_dictionaries({}, optional={n: st.just(v) for n, v in OTHER.items()}))
@settings(deadline=None)
def test_only_automatic_choices_are_explained_and_rightly(
    found: Facts, asked: dict[str, Any]
) -> None:
    try:
        made = recipe(found, **asked)
    except TrainingError:
        return
    named = [
        reason.partition(":")[0].split()
        for reason in explain(Hyperparameters(**asked), found, made)
    ]
    rules = ["batch_size", "n_epochs", "learning_rate", "lora_r", "warmup_steps"]
    assert [name for name, _ in named] == [name for name in rules if name not in asked]
    for name, value in named:
        assert float(value) == pytest.approx(getattr(made, name), rel=5e-3)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"examples": 5_000, "targets": 60_000}, "batch_size 10: 10 of 5,000"),
        ({"examples": 5_000}, "n_epochs 2: 3,000 to 9,999 examples"),
        ({"examples": 2_000}, "n_epochs 3: 1,000 to 2,999 examples"),
        ({"examples": 50_000}, "n_epochs 1: 10,000 examples or more"),
        ({"examples": 8}, "times 1.5 for fewer than 100 steps"),
        ({"family": "qwen3"}, "** 0.0775"),
        ({"targets": 700_000}, "lora_r 64: 700,000 supervised tokens, more than an adapter of r="),
    ],
)  # fmt: skip
def test_the_reason_is_the_rule_that_decided(changes: dict[str, Any], why: str) -> None:
    found = dataclasses.replace(FACTS, **changes)
    assert why in "\n".join(explain(Hyperparameters(), found, recipe(found)))


def test_the_reason_names_what_changes_the_rate() -> None:
    asked = Hyperparameters(learning_rate_multiplier=2)
    assert "times learning_rate_multiplier 2" in explain(asked, FACTS, recipe(**asked.given()))[2]
    dpo = resolve(Hyperparameters(), FACTS, MACHINE, seed=3, method="dpo")
    assert "times 0.04 for DPO" in explain(Hyperparameters(), FACTS, dpo)[2]


def test_a_rule_of_another_version_explains_nothing() -> None:
    made = dataclasses.replace(recipe(), n_epochs=7)
    assert not any("n_epochs" in reason for reason in explain(Hyperparameters(), FACTS, made))


def test_the_line_about_a_job_names_what_is_not_usual() -> None:
    asked = Hyperparameters(
        n_epochs=3, optimizer="sgd", learning_rate=0.1, use_dora=True, use_rslora=False,
        lora_target_modules=("q_proj", "v_proj"), max_grad_norm=1.0, weight_decay=0.25,
        warmup_ratio=0.0, chat_template="{{ secret }}", train_on_inputs=True,
    )  # fmt: skip
    made = resolve(asked, FACTS, MACHINE, seed=3)
    assert made.unusual(asked) == [
        "train_on_inputs", "chat_template", "optimizer sgd", "warmup_ratio 0", "weight_decay 0.25",
        "lora_target_modules q_proj v_proj", "use_dora",
    ]  # fmt: skip
    assert made.unusual(Hyperparameters()) == []
