"""Full validations: where they are, what they find, and that training does not notice them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ftjobs import data
from ftjobs.backends.local import models
from ftjobs.backends.local.training import writing
from ftjobs.backends.local.training.accumulate import Score
from ftjobs.backends.local.training.bleu import EXAMPLES, Bleu, Exam, questions, spread
from ftjobs.backends.local.training.evaluation import History, is_due, perplexity
from ftjobs.backends.local.training.loop import Run, Step
from ftjobs.backends.local.training.recipe import Recipe
from ftjobs.backends.local.training.render import Renderer
from ftjobs.backends.local.training.writing import Greedy, Letters
from ftjobs.errors import TrainingError
from tests.backends.local.training.test_loop import RECIPE, adapted, examples, same, weights

VALID = examples(6, seed=9)


def recipe(**changes: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **changes)


def run_of(folder: Path, chosen: Recipe, **rest: Any) -> Run:
    return Run(adapted(folder, chosen), chosen, examples(), VALID, **rest)


def plain(steps: list[Step]) -> list[Step]:
    return [dataclasses.replace(step, seconds=0.0) for step in steps]


# --- where ------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 50), st.floats(0.001, 100))
def test_full_validations_are_as_far_apart_as_asked_and_one_is_the_last(
    per_epoch: int, n_epochs: int, epochs: float
) -> None:
    every, total = epochs * per_epoch, per_epoch * n_epochs
    due = [n for n in range(1, total + 1) if is_due(n, every=every, total=total)]
    assert due[-1] == total
    regular = [n for n in due if n != total]
    if every <= 1:
        assert due == list(range(1, total + 1))
        return
    wanted = {math.floor(k * every + 0.5) for k in range(1, math.ceil(total / every) + 1)}
    assert regular == sorted(n for n in wanted if n < total)


@pytest.mark.parametrize(
    ("epochs", "due"),
    [
        (1, [5, 10, 15]),
        (0.5, [3, 5, 8, 10, 13, 15]),
        (2, [10, 15]),
        (0.4, [2, 4, 6, 8, 10, 12, 14, 15]),
        (0.01, list(range(1, 16))),
        (1e308, [15]),
    ],
)
def test_fractions_of_epochs(epochs: float, due: list[int]) -> None:
    assert [n for n in range(1, 16) if is_due(n, every=epochs * 5, total=15)] == due


# --- what follows -----------------------------------------------------------------------------


def test_the_best_is_the_earliest_of_equals_and_never_the_base() -> None:
    history = History("loss", {0: 0.1, 3: 2.0, 6: 1.0, 9: 1.0, 12: 1.5})
    assert (history.best(), history.stale, history.beats_base) == (6, 2, False)
    assert history.best(among=[3, 9, 12]) == 9
    history = History("bleu", {3: 2.0, 6: 1.0, 9: 2.0})
    assert (history.best(), history.stale, history.beats_base) == (3, 2, None)
    assert History("loss").best() is None
    assert (History("loss").stale, History("loss", {0: 1.0}).stale) == (0, 0)


@given(st.dictionaries(st.integers(0, 10**9), st.floats(allow_nan=False, allow_infinity=False)))
def test_a_history_comes_back_from_a_state_to_the_bit(values: dict[int, float]) -> None:
    history, again = History("loss", values), History("loss")
    again.restore(history.tensor())
    assert again == history
    assert list(again.values) == list(values)


def test_a_huge_loss_has_a_perplexity() -> None:
    assert perplexity(math.log(50)) == pytest.approx(50)
    assert math.isfinite(perplexity(1e300))


# --- in a run ---------------------------------------------------------------------------------


def test_validating_changes_no_bit_of_the_training(tiny_model: Path, exam: Exam) -> None:
    """With dropout: neither weights nor losses know how often, and by what, they were measured."""
    quiet = Run(adapted(tiny_model), RECIPE, examples())
    losses = [step.train for step in quiet]
    chosen = recipe(evaluation_epochs=0.34, evaluate_before_training=True, evaluation_metric="bleu")
    watched = run_of(tiny_model, chosen, exam=exam)
    assert [step.train for step in watched if step.number] == losses
    assert len(watched.history.values) == 1 + watched.total
    ours, theirs = weights(watched), weights(quiet)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs if key != "history")


def test_the_base_is_validated_once_before_the_first_step(tiny_model: Path) -> None:
    chosen = recipe(evaluate_before_training=True)
    run = run_of(tiny_model, chosen)
    first = next(iter(run))
    assert (first.number, first.train, first.tokens, run.done) == (0, None, 0, 0)
    assert isinstance(first.full_valid, Score)
    assert first.full_valid.loss == pytest.approx(math.log(264), rel=0.1)
    again = run_of(tiny_model, chosen)
    again.restore(weights(run))
    assert next(iter(again)).number == 1
    assert again.history.values == {0: first.full_valid.loss}
    nothing_to_validate = Run(adapted(tiny_model, chosen), chosen, examples())
    assert next(iter(nothing_to_validate)).number == 1


def test_perplexity_decides_as_loss_does(tiny_model: Path) -> None:
    run = run_of(tiny_model, recipe(evaluation_metric="perplexity"))
    found = [step.full_valid for step in run if step.full_valid]
    assert [score.others["perplexity"] for score in found] == [math.exp(s.loss) for s in found]
    assert list(run.history.values.values()) == [score.others["perplexity"] for score in found]


def test_a_run_that_gets_worse_stops_early(tiny_model: Path) -> None:
    """Random answers: what is learned of them makes others less likely."""
    chosen = recipe(
        n_epochs=50, evaluation_epochs=2 / 3, early_stopping_patience=2, learning_rate=0.05
    )
    run = run_of(tiny_model, chosen)
    steps = list(run)
    assert run.stopped_early
    assert run.ended
    assert run.total == 150
    assert run.history.stale == 2
    assert run.done < run.total
    assert [step.total for step in steps[:-1]] == [run.total] * (len(steps) - 1)
    assert (steps[-1].total, steps[-1].is_last) == (run.done, True)
    assert steps[-1].full_valid is not None
    sizes = [step.tokens for step in steps]
    assert run.trained_tokens == sum(sizes) < sum(item.size for item in run.train) * 50


@pytest.mark.parametrize("stop_at", [1, 2, 4, 5])
def test_a_resumed_run_stops_where_an_unbroken_one_does(tiny_model: Path, stop_at: int) -> None:
    chosen = recipe(
        n_epochs=9, evaluation_epochs=2 / 3, early_stopping_patience=2, learning_rate=0.05
    )
    whole = run_of(tiny_model, chosen)
    unbroken = plain(list(whole))
    assert whole.stopped_early
    first = run_of(tiny_model, chosen)
    taken: list[Step] = []
    for step in first:
        taken.append(step)
        if step.number == stop_at:
            break
    second = run_of(tiny_model, chosen)
    second.restore(weights(first))
    assert plain(taken + list(second)) == unbroken
    assert second.history == whole.history
    assert same(weights(second), weights(whole))
    third = run_of(tiny_model, chosen)
    third.restore(weights(whole))
    assert list(third) == []  # killed after its last step, it does not go on


def test_patience_that_lasts_to_the_end_stops_nothing(tiny_model: Path) -> None:
    run = run_of(tiny_model, recipe(early_stopping_patience=2))
    assert list(run)[-1].number == run.total == run.done
    assert not run.stopped_early


# --- answers ----------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [
        ("Hello?", "Hi there, my friend."),
        ("東京は？", "東京は日本の首都です。"),
        ("1+1?", "2"),
    ]
    messages = [
        [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
        for ask, answer in [*texts, ("A much longer question than the others are?", "Yes, it is.")]
    ]
    lines = [json.dumps({"messages": each}, ensure_ascii=False) for each in messages]
    path = tmp_path / "valid.jsonl"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def renderer(tiny_model: Path) -> Renderer:
    tokenizer = models.load_tokenizer(tiny_model)
    return Renderer(tokenizer, models.stop_ids(tokenizer, tiny_model), 512)


@pytest.fixture
def exam(rows: Path, renderer: Renderer) -> Exam:
    asked = questions(renderer, data.read(rows))
    return Exam(tuple(asked), Letters(renderer.tokenizer, renderer.stops))


def test_questions_are_the_prompts_of_the_last_answers(rows: Path, renderer: Renderer) -> None:
    asked = questions(renderer, data.read(rows))
    assert [question.expected for question in asked][:2] == [
        "Hi there, my friend.", "東京は日本の首都です。",
    ]  # fmt: skip
    text = renderer.tokenizer.decode(asked[0].prompt)
    assert text == "<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    assert asked[2].limit == 2 * 1 + 16
    full = dataclasses.replace(renderer, context_length=len(asked[0].prompt) + 3)
    assert questions(full, data.read(rows))[0].limit == 3


def test_examples_without_text_cannot_be_asked(tmp_path: Path, renderer: Renderer) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    rows = [
        {"role": "user", "content": "Call f."},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    path = tmp_path / "tools.jsonl"
    path.write_text(json.dumps({"messages": rows}) + "\n")
    with pytest.raises(TrainingError, match="no validation example has an answer in text"):
        questions(renderer, data.read(path))


def test_answers_are_those_of_generate(
    tiny_model: Path, exam: Exam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padded together, in any grouping, and with the adapter as it stands: as one at a time."""
    run = Run(adapted(tiny_model), RECIPE, examples())
    list(run)
    prompts, limits = [q.prompt for q in exam.questions], [9, 30, 1, 25]
    greedy = Greedy(run.model, exam.letters)
    together = greedy.write(prompts, limits)
    assert run.model.training
    run.model.eval()
    for prompt, limit, text in zip(prompts, limits, together, strict=True):
        ids = torch.tensor([prompt])
        written = run.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=limit, eos_token_id=list(exam.letters.stops), pad_token_id=257,
        )  # fmt: skip
        tokens = written[0, len(prompt) :].tolist()
        assert text == exam.letters.tokenizer.decode(tokens, skip_special_tokens=True)
    monkeypatch.setattr(writing, "TOKENS", 1)
    assert Greedy(run.model, exam.letters).write(prompts, limits) == together


def test_a_row_that_ends_leaves_the_others_alone(tiny_model: Path, exam: Exam) -> None:
    model = adapted(tiny_model).eval()
    prompts, limits = [q.prompt for q in exam.questions], [20] * 4

    @torch.no_grad()
    def written(stops: frozenset[int]) -> list[list[int]]:
        return writing._write(writing._Decoder(model, prompts), limits, stops)

    long = written(frozenset())
    assert [len(ids) for ids in long] == limits
    stops = frozenset({long[0][3], long[1][10]})  # some have them early, others late or never
    wanted = [next((ids[:n] for n, t in enumerate(ids) if t in stops), ids) for ids in long]
    assert len({len(ids) for ids in wanted}) > 1
    assert written(stops) == wanted


def test_answers_for_which_there_is_no_room_are_written_in_halves(
    tiny_model: Path, exam: Exam
) -> None:
    model = adapted(tiny_model)
    prompts, limits = [q.prompt for q in exam.questions], [12] * 4
    wanted = Greedy(model, exam.letters).write(prompts, limits)
    sizes: list[int] = []

    class Crowded(Greedy):
        def _together(self, prompts: Any, limits: Any) -> list[str]:
            sizes.append(len(prompts))
            if len(prompts) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super()._together(prompts, limits)

    assert Crowded(model, exam.letters).write(prompts, limits) == wanted
    assert sizes.count(1) == 4


class Parrot:
    """Writes what it is told."""

    def __init__(self, texts: list[str]) -> None:
        self.texts: Iterator[str] = iter(texts)

    def write(self, prompts: Any, limits: Any) -> list[str]:
        return [next(self.texts) for _ in prompts]


def test_bleu_is_that_of_sacrebleu(exam: Exam) -> None:
    import sacrebleu

    expected = [question.expected for question in exam.questions]
    texts = ["Hi there, my enemy.", "東京は日本の都市です。", "3", expected[3] + " "]
    scores = Bleu(Parrot(texts), exam.questions).scores(exam.questions)
    assert scores[0] == sacrebleu.sentence_bleu(texts[0], [expected[0]]).score
    assert scores[1] == sacrebleu.sentence_bleu(texts[1], [expected[1]], tokenize="char").score
    assert 0 < scores[0] < 100
    assert scores[1] > 50
    assert (scores[2], round(scores[3], 6)) == (0, 100)


def test_bleu_rises_with_what_is_learned(tiny_model: Path, rows: Path, renderer: Renderer) -> None:
    """From nothing to every answer, measured in mid-training with the weights as they stand."""
    chosen = recipe(
        n_epochs=60, evaluation_epochs=30, evaluation_metric="bleu", lora_r=16, lora_alpha=32,
        lora_dropout=0.0, evaluate_before_training=True,
    )  # fmt: skip
    train = [renderer.example(example) for example in data.read(rows)]
    asked = Exam(
        tuple(questions(renderer, data.read(rows))), Letters(renderer.tokenizer, renderer.stops)
    )
    run = Run(adapted(tiny_model, chosen), chosen, train, train, exam=asked)
    list(run)
    values = list(run.history.values.values())
    assert values[0] < 10
    assert values[-1] == pytest.approx(100)
    assert run.history.best() == max(run.history.values, key=lambda s: (run.history.values[s], -s))


def test_a_run_that_goes_by_bleu_needs_an_exam(tiny_model: Path) -> None:
    run = run_of(tiny_model, recipe(evaluation_metric="bleu", evaluate_before_training=True))
    with pytest.raises(ValueError, match="needs an exam"):
        next(iter(run))


@given(st.integers(0, 1000))
def test_many_examples_are_asked_here_and_there(count: int) -> None:
    chosen = spread(range(count))
    assert len(chosen) == min(count, EXAMPLES) == len(set(chosen))
    assert chosen == sorted(chosen)
    if count >= 2 * EXAMPLES:
        assert max(chosen) >= count - 2 * count // EXAMPLES
