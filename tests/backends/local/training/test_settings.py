"""Settings from the user's words to the weights: each does what it says, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.backends.local.training import batches
from ftjobs.backends.local.training.adapter import add_adapter
from ftjobs.backends.local.training.hiding import blank_of, hide
from ftjobs.backends.local.training.loop import Run, Step
from ftjobs.backends.local.training.objectives import scorer_for
from ftjobs.backends.local.training.pairs import renderer_for
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Renderer, Tokens
from ftjobs.errors import ConfigError, TrainingError, UnsupportedError
from ftjobs.schema import ChatMessage, Example, Hyperparameters, Job, JobSpec, Sampling
from tests.backends.local.conftest import until
from tests.backends.local.training.test_loop import RECIPE, examples

PLAIN = dataclasses.replace(RECIPE, lora_dropout=0.0)
STOP = 257


def run_of(folder: Path, recipe: Recipe, count: int = 10) -> Run:
    model = models.load_model(folder, dtype=recipe.dtype, device="cpu")
    return Run(add_adapter(model, recipe), recipe, examples(count), examples(3, seed=9))


def taken(run: Run) -> list[Step]:
    return [dataclasses.replace(step, seconds=0.0) for step in run]


def same(a: Run, b: Run) -> bool:
    ours, theirs = a.state(), b.state()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


# --- which tokens are supervised --------------------------------------------------------------


def talk(*turns: tuple[str, str, int | None], line: int = 7) -> Example:
    messages = tuple(ChatMessage(role=r, content=c, weight=w) for r, c, w in turns)
    return Example(messages=messages, line=line)


TWO = (("user", "ab", None), ("assistant", "cde", None), ("user", "f", None))
LAST = ("assistant", "gh", None)


@pytest.fixture(scope="module")
def render(tiny_model: Path) -> Any:
    tokenizer = models.load_tokenizer(tiny_model)
    return lambda **options: Renderer(tokenizer, frozenset({STOP}), 512, **options)


def text(renderer: Renderer, tokens: Tokens, *, supervised: bool = True) -> str:
    chosen = [
        t for t, mask in zip(tokens.ids, tokens.supervised, strict=True) if mask == supervised
    ]
    return str(renderer.tokenizer.decode(chosen))


def test_train_on_inputs_supervises_every_token_but_the_first(render: Any) -> None:
    without, renderer = render(), render(train_on_inputs=True)
    for turns in ([*TWO[:2]], [*TWO, LAST]):
        plain, tokens = without.example(talk(*turns)), renderer.example(talk(*turns))
        assert tokens.ids == plain.ids
        assert tokens.supervised == (False, *[True] * (len(tokens.ids) - 1))
        assert plain.targets == sum(len(c) + 1 for r, c, _ in turns if r == "assistant")


def test_train_on_inputs_still_leaves_out_answers_of_weight_0(render: Any) -> None:
    renderer = render(train_on_inputs=True)
    first = renderer.example(talk(TWO[0], ("assistant", "cde", 0), TWO[2], LAST))
    assert text(renderer, first, supervised=False) == "<|im_start|>cde<|im_end|>"
    last = renderer.example(talk(*TWO, ("assistant", "gh", 0)))
    assert text(renderer, last, supervised=False) == "<|im_start|>gh<|im_end|>"


def test_train_on_inputs_is_for_decoders(tiny_model: Path) -> None:
    tokenizer = models.load_tokenizer(tiny_model)
    with pytest.raises(TrainingError, match="train_on_inputs"):
        renderer_for("encoder-decoder", tokenizer, frozenset({STOP}), 512, train_on_inputs=True)


PROMPT = len("Suser\nabE\nSassistant\n")  # a token a byte, and one for each S and E


@pytest.mark.parametrize(
    ("turns", "prompt", "completion"),
    [
        (TWO[:2], PROMPT, 4),
        ([*TWO, LAST], PROMPT + 4 + 1 + PROMPT - 1, 4),  # the longest of both
        ([TWO[0], ("assistant", "cde", 0), TWO[2], LAST], 2 * PROMPT + 4, 3),
    ],
)
def test_lengths_are_limits_to_the_token(
    render: Any, turns: Any, prompt: int, completion: int
) -> None:
    for name, length in (("max_prompt_length", prompt), ("max_completion_length", completion)):
        whole = render(**{name: length}).example(talk(*turns))
        assert whole == render().example(talk(*turns))  # nothing is cut
        kind = name.split("_")[1]
        wanted = f"line 7 .* its {kind} has {length} tokens and {name} is {length - 1}"
        with pytest.raises(TrainingError, match=wanted) as caught:
            render(**{name: length - 1}).example(talk(*turns))
        assert caught.value.code == "invalid_training_file"


def test_lengths_are_those_of_the_answers_with_prompts_supervised_too(render: Any) -> None:
    limits = {"max_prompt_length": PROMPT, "max_completion_length": 4}
    tokens = render(train_on_inputs=True, **limits).example(talk(*TWO[:2]))
    assert tokens.targets == len(tokens.ids) - 1


# --- hidden inputs ----------------------------------------------------------------------------

HIDING = dataclasses.replace(PLAIN, token_mask_probability=0.3, mask_token=256)
LONG = Tokens(tuple(range(200)) * 50, (True,) * 10_000)


@given(st.floats(0.01, 0.99), st.integers(0, 2**31), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_share_is_hidden_at_random_places(
    share: float, seed: int, number: int, index: int
) -> None:
    recipe = dataclasses.replace(HIDING, token_mask_probability=share, seed=seed)
    shown = hide(LONG, recipe, number=number, index=index)
    assert (shown.ids, shown.supervised, shown.size) == (LONG.ids, LONG.supervised, LONG.size)
    hidden = [token != real for token, real in zip(shown.inputs, LONG.ids, strict=True)]
    assert {t for t, was in zip(shown.inputs, hidden, strict=True) if was} == {256}
    assert abs(sum(hidden) / 10_000 - share) < 0.03  # six standard deviations
    assert shown == hide(LONG, recipe, number=number, index=index)
    others = [
        hide(LONG, recipe, number=number + 1, index=index),
        hide(LONG, recipe, number=number, index=index + 1),
        hide(LONG, dataclasses.replace(recipe, seed=seed + 1), number=number, index=index),
    ]
    assert len({shown.inputs, *(other.inputs for other in others)}) == 4


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_labels_are_never_hidden(tiny_model: Path, dropout: float) -> None:
    """Both scorers read `shown` and ask for `ids`: compare with transformers' own loss."""
    recipe = dataclasses.replace(HIDING, lora_dropout=dropout)
    model = run_of(tiny_model, recipe).model.eval()
    chosen = [hide(e, recipe, number=1, index=i) for i, e in enumerate(examples(5))]
    found = scorer_for(model, recipe).score(chosen).logprobs.sum().item()
    wanted = 0.0
    for tokens in chosen:
        ids = torch.tensor([tokens.inputs])
        labels = torch.where(torch.tensor([tokens.supervised]), torch.tensor([tokens.ids]), -100)
        wanted -= model(input_ids=ids, labels=labels).loss.item() * tokens.targets
    assert found == pytest.approx(wanted, rel=1e-5)
    assert found != pytest.approx(
        scorer_for(model, recipe).score(examples(5)).logprobs.sum().item()
    )


def test_hiding_is_for_learning_only_and_survives_a_resume(tiny_model: Path) -> None:
    plain, whole = run_of(tiny_model, PLAIN), run_of(tiny_model, HIDING)
    assert whole.evaluate(whole.valid) == plain.evaluate(plain.valid)
    unbroken = taken(whole)
    assert unbroken[0].train != taken(plain)[0].train
    first, second = run_of(tiny_model, HIDING), run_of(tiny_model, HIDING)
    broken = [dataclasses.replace(next(iter(first)), seconds=0.0) for _ in range(2)]
    second.restore({name: value.clone() for name, value in first.state().items()})
    assert [*broken, *taken(second)] == unbroken
    assert same(second, whole)


def test_micro_batches_hide_the_same(tiny_model: Path) -> None:
    small, large = (
        taken(run_of(tiny_model, dataclasses.replace(HIDING, micro_batch_tokens=budget)))
        for budget in (40, 4000)
    )
    for ours, theirs in zip(small, large, strict=True):
        assert ours.train and theirs.train  # noqa: PT018 — for the type checker
        assert ours.train.loss == pytest.approx(theirs.train.loss, rel=1e-4)


class Names:
    """A tokenizer's special tokens, as many as it has."""

    def __init__(self, **tokens: int) -> None:
        for name in ("mask", "unk", "pad", "eos"):
            setattr(self, f"{name}_token_id", tokens.get(name))


@pytest.mark.parametrize(
    ("names", "blank"),
    [
        ({"mask": 4, "unk": 3, "pad": 2, "eos": 1}, 4),
        ({"unk": 0, "pad": 2, "eos": 1}, 0),
        ({"pad": 2, "eos": 1}, 2),
        ({"eos": 1}, 1),
    ],
)
def test_a_hidden_token_is_replaced_by_one_that_means_nothing(
    names: dict[str, int], blank: int
) -> None:
    assert blank_of(Names(**names)) == blank


# --- steps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("drop", [False, True])
def test_accumulating_changes_no_bit(tiny_model: Path, drop: bool) -> None:
    """Batch 8, or 4 batches of 2, also where the last step is smaller or left out."""
    runs = [
        run_of(
            tiny_model,
            dataclasses.replace(
                RECIPE,  # with dropout
                batch_size=size,
                gradient_accumulation_steps=accumulated,
                drop_last_batch=drop,
                token_mask_probability=0.2,
            ),
            count=19,
        )
        for size, accumulated in ((8, 1), (2, 4), (1, 8))
    ]
    first, *others = [taken(run) for run in runs]
    assert len(first) == 2 * (2 if drop else 3)
    assert all(other == first for other in others)
    assert same(runs[0], runs[1])
    assert same(runs[0], runs[2])


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 99))
def test_dropping_the_last_batch_leaves_whole_ones(count: int, size: int, seed: int) -> None:
    def seen(*, drop: bool) -> list[list[tuple[int, ...]]]:
        steps = range(1, 3 * batches.steps_per_epoch(count, size, drop_last=drop) + 1)
        found = [
            batches.step(count, batch_size=size, seed=seed, number=n, drop_last=drop) for n in steps
        ]
        return [[chosen for epoch, chosen in found if epoch == wanted] for wanted in (1, 2, 3)]

    for kept, every in zip(seen(drop=True), seen(drop=False), strict=True):
        assert kept == [chosen for chosen in every if len(chosen) == size]
        assert Counter(i for chosen in every for i in chosen) == Counter(range(count))


def test_gradients_are_clipped_at_the_norm(tiny_model: Path) -> None:
    """At rate 1 a step of plain descent is as long as the gradient: exactly the norm."""
    recipe = dataclasses.replace(
        PLAIN, optimizer="sgd", learning_rate=1.0, warmup_steps=0, max_grad_norm=1e-3
    )
    for norm in (1e-3, 2e-3):
        run = run_of(tiny_model, dataclasses.replace(recipe, max_grad_norm=norm))
        before = {name: value.detach().clone() for name, value in run.parameters.items()}
        next(iter(run))
        moved = [run.parameters[name].detach() - value for name, value in before.items()]
        length = torch.cat([each.flatten() for each in moved]).norm().item()
        # Nesterov's first step is 1 + momentum gradients long.
        assert length == pytest.approx(1.9 * norm, rel=1e-3)


def test_the_schedule_and_the_warm_up_reach_the_optimiser(tiny_model: Path) -> None:
    recipe = dataclasses.replace(
        PLAIN, lr_scheduler_type="cosine", learning_rate=1e-2, warmup_steps=2
    )
    run, rates = run_of(tiny_model, recipe), []
    for _ in run:
        rates += [group["lr"] for group in run.optimizer.param_groups]
    assert rates == pytest.approx(
        [1e-2 * share for share in (1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447)], rel=1e-5
    )


# --- whole jobs -------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "n_epochs": 2, "batch_size": 2, "gradient_accumulation_steps": 2, "drop_last_batch": True,
    "learning_rate": 0.01, "optimizer": "rmsprop", "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.25, "weight_decay": 0.1, "max_grad_norm": 0.5, "lora_dropout": 0.1,
    "lora_target_modules": ("q_proj", "v_proj"), "use_rslora": True, "use_dora": True,
    "train_on_inputs": True, "max_prompt_length": 100, "max_completion_length": 50,
    "token_mask_probability": 0.1,
}  # fmt: skip


def submit(backend: LocalBackend, model: Path, dataset: Path, **asked: Any) -> Job:
    file = backend.upload(dataset).id
    spec = JobSpec(
        model=str(model), training_file=file, seed=5, hyperparameters=Hyperparameters(**asked)
    )
    return backend.create(spec)


def finish(backend: LocalBackend, job: Job) -> tuple[Job, str]:
    until(lambda: backend.retrieve(job.id).ended, seconds=120)
    return backend.retrieve(job.id), "\n".join(e.message for e in backend.events(job.id))


def test_a_job_with_every_setting_says_them_and_answers(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    given = submit(backend, tiny_model, dataset, **EVERYTHING)
    plain = submit(backend, tiny_model, dataset, n_epochs=1)
    job, said = finish(backend, given)
    assert job.status == "succeeded", job.error
    for name, value in EVERYTHING.items():
        shown = job.hyperparameters[name]
        assert (tuple(shown) if isinstance(shown, list) else shown) == value, name
    assert "Step 6/6" in said  # 12 examples in threes of 4, twice
    assert (
        ", train_on_inputs, max_prompt_length 100, max_completion_length 50, "
        "token_mask_probability 0.1, optimizer rmsprop, lr_scheduler_type cosine, "
        "warmup_ratio 0.25, weight_decay 0.1, max_grad_norm 0.5, gradient_accumulation_steps 2, "
        "drop_last_batch, lora_target_modules q_proj v_proj, use_rslora, use_dora" in said
    )
    assert "Chosen automatically: lora_r 8: " in said
    folder, _ = backend.store.adapter(job.fine_tuned_model or "")
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    assert (config["use_dora"], config["use_rslora"], config["lora_dropout"]) == (True, True, 0.1)
    assert config["target_modules"] == ["q_proj", "v_proj"]
    ask = (ChatMessage(role="user", content="Question 3?"),)
    sampling = Sampling(temperature=0, max_tokens=8)
    answers = {
        name: backend.complete(name, ask, sampling=sampling).text
        for name in (str(tiny_model), job.fine_tuned_model or "")
    }
    assert len(set(answers.values())) == 2
    _, said = finish(backend, plain)
    assert (
        "Chosen automatically: batch_size 1: 1 of 12 examples in a step; learning_rate 0.0015: "
        "5e-4 * (2000 / 64) ** 0.781, kept within 1e-4 and 1e-3, times 1.5 for fewer than 100 "
        "steps; lora_r 8: " in said
    )


def test_a_job_that_cannot_be_done_says_which_setting(
    backend: LocalBackend, tiny_model: Path, dataset: Path
) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "max_completion_length": {"max_completion_length": 3},
        "lora_target_modules": {"lora_target_modules": ("query",)},
        "drop_last_batch": {"drop_last_batch": True, "batch_size": 13},
    }
    jobs = {name: submit(backend, tiny_model, dataset, **asked) for name, asked in wrong.items()}
    for name, job in jobs.items():
        ended, _ = finish(backend, job)
        assert ended.status == "failed"
        assert ended.error is not None
        assert name in (ended.error.message or "")


@pytest.mark.parametrize(
    ("asked", "error", "wanted"),
    [
        (
            {"learning_rate": 1e-3, "learning_rate_multiplier": 2},
            ConfigError,
            "contradict each other",
        ),
        ({"optimizer": "sgd"}, ConfigError, "optimizer sgd needs a learning_rate"),
        ({"optimizer": "adadelta", "learning_rate_multiplier": 2}, ConfigError, "adadelta needs"),
        ({"beta": 0.2}, UnsupportedError, "beta"),
    ],
)
def test_contradictions_are_refused_before_anything_is_kept(
    backend: LocalBackend,
    tiny_model: Path,
    dataset: Path,
    asked: dict[str, Any],
    error: type[Exception],
    wanted: str,
) -> None:
    with pytest.raises(error, match=wanted):
        submit(backend, tiny_model, dataset, **asked)
    assert list(backend.jobs()) == []


@pytest.mark.parametrize("asked", [{}, {"learning_rate": 2e-3}, {"learning_rate_multiplier": 2.0}])
def test_what_a_job_shows_can_be_asked_for_again(
    backend: LocalBackend, tiny_model: Path, dataset: Path, asked: dict[str, Any]
) -> None:
    first, _ = finish(backend, submit(backend, tiny_model, dataset, n_epochs=1, **asked))
    shown = {**first.hyperparameters}
    again, _ = finish(backend, submit(backend, tiny_model, dataset, **shown))
    assert again.hyperparameters == shown
    assert losses(backend, again) == losses(backend, first)


def losses(backend: LocalBackend, job: Job) -> list[object]:
    return [event.data["train_loss"] for event in backend.events(job.id) if event.metrics]


def test_without_bitsandbytes_its_optimiser_is_refused(
    backend: LocalBackend, tiny_model: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    with pytest.raises(ConfigError, match="needs bitsandbytes"):
        submit(backend, tiny_model, dataset, optimizer="adamw_8bit")
