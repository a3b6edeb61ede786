"""Judges from end to end: arms and judge are scripted backends, the rest is the real thing."""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.evals.arms import Arm, Price
from ftjobs.evals.asking import Asker
from ftjobs.evals.cache import AnswerCache
from ftjobs.evals.graders.base import Grader, PairGrader
from ftjobs.evals.judges import JudgeModel, pairwise, pointwise, read_grader
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Bias, Comparison
from ftjobs.evals.run import compare
from ftjobs.schema import ChatMessage
from tests.evals.judges.scripted import judge, shown

PROMPTS = [
    Prompt((ChatMessage(role="user", content=f"Question {number}?"),), line=number)
    for number in range(1, 61)
]


def answers(model: str, messages: Sequence[ChatMessage]) -> str:
    """Two answers of different length to each question, the longer one from either model."""
    number = int(str(messages[-1].content).split()[1][:-1])
    is_long = (number % 2 == 0) == (model == "ft:base")
    return f"{model[:2]} says {number}" + (" and much more" * 3 if is_long else "")


def compared(*graders: Grader | PairGrader, ask: Asker | None = None) -> Comparison:
    backend = FakeBackend(models=("base", "ft:base"), answers=answers)
    arms = [Arm("base", "base", backend), Arm("tuned", "ft:base", backend)]
    return compare(PROMPTS, arms, graders=graders, ask=ask)


def bias(result: Comparison, kind: str) -> Bias:
    (found,) = (each for each in result.biases if each.kind == kind)
    return found


def test_a_judge_that_always_prefers_the_first_seat_yields_ties_alone() -> None:
    result = compared(pairwise(judge('I like the first one.\n{"winner": "A"}')))
    contrast = result.contrast("pairwise", "tuned")
    assert contrast is not None
    assert (contrast.n, contrast.ties, contrast.conflicts) == (60, 60, 60)
    assert (contrast.wins, contrast.losses, contrast.difference) == (0, 0, 0)
    assert result.verdict is not None
    assert result.verdict.word == "inconclusive"
    assert bias(result, "position").warning
    assert bias(result, "position").sentence.startswith("This judge favours the first answer")
    assert Comparison.model_validate_json(result.model_dump_json()) == result


def longer(text: str) -> str:
    lengths = [len(shown(text, f"answer {seat}")) for seat in "AB"]
    return f'It says more.\n{{"winner": "{"A" if lengths[0] > lengths[1] else "B"}"}}'


def test_a_judge_that_prefers_length_is_named_as_such() -> None:
    result = compared(pairwise(judge(longer)))
    assert bias(result, "length").warning
    assert bias(result, "length").sentence.startswith(
        "This judge prefers the longer answer: it won 100 % of 60 choices"
    )
    assert not bias(result, "position").warning


def test_imported_and_pointwise_judges_bring_their_panels_along() -> None:
    score = {
        "type": "score_model",
        "name": "hosted",
        "model": "gpt-4o",
        "range": [0, 100],
        "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    }
    one = pointwise(judge(lambda text: f'{{"score": {1 + len(shown(text, "answer")) / 25}}}'))
    two = read_grader(score, judge(lambda text: f'{{"result": {len(text.partition("First")[0])}}}'))
    result = compared(one, two)
    assert {(each.grader, each.kind, each.warning) for each in result.biases} == {
        ("judge", "length", True),
        ("hosted", "length", True),
    }


@pytest.mark.parametrize("make", [pointwise, pairwise], ids=["pointwise", "pairwise"])
def test_a_second_run_asks_no_judge_again(
    make: Callable[[JudgeModel], Grader | PairGrader], tmp_path: Path
) -> None:
    who = judge('{"winner": "tie", "score": 3}')
    priced = JudgeModel(who.backend, who.model, price=Price(1.0, 2.0))
    with closing(AnswerCache(tmp_path / "cache")) as cache:
        ask = Asker(cache=cache)
        first = compared(make(priced), ask=ask)
        assert ask.spent[first.graders[0].name].asked == 120
        assert (ask.spent[first.graders[0].name].usd or 0) > 0
    with closing(AnswerCache(tmp_path / "cache")) as cache:
        ask = Asker(cache=cache)
        second = compared(make(priced), ask=ask)
        assert ask.spent[first.graders[0].name].asked == 0
    assert first.rows == second.rows
    assert first.biases == second.biases
