"""A comparison from beginning to end, over scripted models."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.profiles import PROFILES
from ftjobs.errors import ConfigError, InvalidRequestError, NotFoundError
from ftjobs.evals import Arm, Comparison, Gate, Price, Prompt, compare
from ftjobs.evals.arms import Ask
from ftjobs.evals.asking import Asker
from ftjobs.evals.cache import AnswerCache
from ftjobs.evals.graders import chrf, exact
from ftjobs.evals.graders.base import Function, Item
from ftjobs.evals.judges.base import JudgeModel
from ftjobs.evals.judges.pairwise import pairwise
from ftjobs.evals.result import Answer, Mark
from ftjobs.schema import ChatMessage, Sampling

WARM = Sampling(temperature=0.7)


class Models(FakeBackend):
    """`tuned` is right on `right` of 100 questions, `base` on none, `good` on all."""

    def __init__(self, right: int = 70, base: int = 0) -> None:
        self.right = {"tuned": right, "base": base, "good": 100, "worse": 0}
        self.asked: Counter[tuple[str, str]] = Counter()
        super().__init__(models=tuple(self.right), answers=self._reply)

    def _reply(self, model: str, messages: Sequence[ChatMessage]) -> str:
        question = str(messages[-1].content)
        self.asked[model, question] += 1
        is_right = int(question.strip("trainq")) % 100 < self.right[model]
        return question.upper() if is_right else "no idea"


def prompts(count: int, word: str = "q") -> list[Prompt]:
    return [
        Prompt((ChatMessage(role="user", content=f"{word}{i}"),), f"{word}{i}".upper(), line=i + 1)
        for i in range(count)
    ]


def two(backend: FakeBackend, **how: object) -> list[Arm]:
    return [Arm(name, name, backend, **how) for name in ("base", "tuned")]  # type: ignore[arg-type]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as cache:
        yield cache


def test_rows_are_in_the_order_of_the_prompts_and_hold_what_was_said() -> None:
    result = compare(prompts(50), two(Models()), graders=[exact(), chrf()], now=lambda: 7.0)
    assert [row.line for row in result.rows] == list(range(1, 51))
    assert result.rows[3].answers["tuned"][0].text == "Q3"
    assert result.rows[3].score("exact", "tuned") == 1
    assert result.created == 7
    assert [grader.name for grader in result.graders] == ["exact", "chrf"]


def test_it_comes_back_from_json() -> None:
    result = compare(prompts(9), two(Models()), graders=[exact()])
    assert Comparison.model_validate_json(result.model_dump_json()) == result


def test_a_better_candidate_passes() -> None:
    verdict = compare(prompts(60), two(Models(right=40))).verdict
    assert verdict is not None
    assert verdict.word == "pass"
    assert verdict.sentence.startswith("Tuned beats base by 66.7 points")
    assert "n = 60" in verdict.sentence


def test_a_worse_candidate_fails() -> None:
    verdict = compare(prompts(60), two(Models(right=0, base=40))).verdict
    assert verdict is not None
    assert verdict.word == "fail"


def test_few_rows_decide_nothing() -> None:
    verdict = compare(prompts(6), two(Models(right=1))).verdict
    assert verdict is not None
    assert verdict.word == "inconclusive"


def test_equal_models_are_not_inferior_by_a_margin() -> None:
    arms = two(Models(right=50, base=50))
    gates = [Gate(), Gate(rule="non-inferior", margin=0.1)]
    words = [v.word for gate in gates if (v := compare(prompts(100), arms, gate=gate).verdict)]
    assert words == ["inconclusive", "pass"]


def test_the_gate_may_name_its_grader() -> None:
    always = Function("always", lambda _answer, _prompt: 1.0)
    found = compare(
        prompts(60), two(Models()), graders=[always, exact()], gate=Gate(grader="exact")
    )
    assert found.verdict is not None
    assert found.verdict.grader == "exact"
    assert found.verdict.word == "pass"
    with pytest.raises(ConfigError, match="no-such"):
        compare(prompts(2), two(Models()), gate=Gate(grader="no-such"))


def test_without_a_gate_there_is_no_verdict() -> None:
    assert compare(prompts(9), two(Models()), gate=None).verdict is None


def test_prompts_that_expect_nothing_are_not_graded() -> None:
    bare = [Prompt(prompt.messages) for prompt in prompts(4)]
    result = compare([*prompts(3), *bare], two(Models()))
    contrast = result.contrast("exact", "tuned")
    assert contrast is not None
    assert contrast.n == 3
    nothing = compare(bare, two(Models()))
    assert (nothing.contrasts, nothing.verdict) == ((), None)


def test_every_arm_is_held_against_the_first_and_holm_counts_them_all() -> None:
    backend = Models(right=12)
    arms = [*two(backend), Arm("good", "good", backend), Arm("worse", "worse", backend)]
    result = compare(prompts(40), arms, graders=[exact(), chrf()])
    assert [(c.grader, c.arm) for c in result.contrasts] == [
        (grader, arm) for grader in ("exact", "chrf") for arm in ("tuned", "good", "worse")
    ]
    contrast = result.contrast("exact", "tuned")
    assert contrast is not None
    assert contrast.p is not None
    assert contrast.p_adjusted is not None
    assert contrast.p_adjusted > contrast.p
    assert any("good is best of 3 arms" in warning for warning in result.warnings)


def test_samples_are_averaged_within_the_prompt() -> None:
    draws = random.Random(3)
    backend = FakeBackend(
        models=("base", "tuned"),
        answers=lambda model, m: (
            str(m[-1].content).upper() if model == "tuned" and draws.random() < 0.5 else "no"
        ),
    )
    result = compare(prompts(20), two(backend, sampling=WARM), samples=4, ask=Asker(threads=1))
    row = result.rows[0]
    assert len(row.answers["tuned"]) == 4
    contrast = result.contrast("exact", "tuned")
    assert contrast is not None
    assert (contrast.kind, contrast.n) == ("continuous", 20)


def test_samples_with_a_seed_get_a_seed_each() -> None:
    seeds: list[int | None] = []

    class Noting(FakeBackend):
        def complete(self, model, messages, *, sampling=WARM, tools=()):  # type: ignore[no-untyped-def]
            seeds.append(sampling.seed)
            return super().complete(model, messages, sampling=sampling)

    backend = Noting(models=("base", "tuned"))
    drawn = Sampling(temperature=0.7, seed=5)
    compare(prompts(1), two(backend, sampling=drawn), samples=3, ask=Asker(threads=1))
    assert sorted(filter(None, seeds)) == [5, 5, 6, 6, 7, 7]


def test_clusters_reach_the_statistics() -> None:
    clustered = [
        Prompt(p.messages, p.expected, cluster=f"document {i // 5}")
        for i, p in enumerate(prompts(60))
    ]
    contrast = compare(clustered, two(Models(right=30))).contrast("exact", "tuned")
    assert contrast is not None
    assert contrast.clusters == 12


def test_one_failed_answer_leaves_its_row_out_and_is_said() -> None:
    backend = Models()
    backend.fail_next("complete", InvalidRequestError("too long"))
    result = compare(prompts(60), two(backend), ask=Asker(threads=1))
    contrast = result.contrast("exact", "tuned")
    assert contrast is not None
    assert contrast.n == 59
    assert result.arms[0].failures == 1
    assert any("answers that could not be had: 1," in warning for warning in result.warnings)
    assert result.verdict is not None
    assert result.verdict.word == "pass"


def test_many_missing_answers_leave_the_verdict_open() -> None:
    backend = Models()
    backend.fail_next("complete", *[InvalidRequestError("too long")] * 14)
    verdict = compare(prompts(60), two(backend), ask=Asker(threads=1)).verdict
    assert verdict is not None
    assert verdict.word == "inconclusive"


class Judges(Models):
    """`judge` refuses to judge the first `refused` questions, and likes the right answer."""

    def __init__(self, refused: int) -> None:
        self.refused = refused
        super().__init__(right=100)
        self.judge = JudgeModel(FakeBackend(models=("judge",), answers=self._judge), "judge")

    def _judge(self, model: str, messages: Sequence[ChatMessage]) -> str:
        text = str(messages[-1].content)
        if any(f"q{i}\n" in text for i in range(self.refused)):
            return "I would rather not."
        return f'{{"winner": "{"A" if text.rindex("Q") < text.index("no idea") else "B"}"}}'


@pytest.mark.parametrize(("refused", "word"), [(2, "pass"), (20, "inconclusive")])
@pytest.mark.parametrize("expected", [True, False])
def test_rows_that_a_judge_refuses_are_said_and_may_leave_the_verdict_open(
    refused: int, word: str, expected: bool
) -> None:
    backend = Judges(refused)
    asked = prompts(60) if expected else [Prompt(p.messages) for p in prompts(60)]
    result = compare(asked, two(backend), graders=[pairwise(backend.judge)])
    assert result.contrasts[0].n == 60 - refused
    assert any(w.startswith(f"pairwise could not grade {refused} of 60") for w in result.warnings)
    assert result.verdict is not None
    assert result.verdict.word == word


def test_a_grader_of_one_arm_alone_leaves_the_verdict_open() -> None:
    only = Function("only", lambda answer, _p: None if answer.text == "no idea" else 1.0)
    result = compare(prompts(60), two(Models(right=30, base=60)), graders=[only])
    assert result.verdict is not None
    assert result.verdict.word == "inconclusive"
    assert "only could not grade 30 of 60 rows of tuned" in result.warnings[0]


class Miscounting:
    """A grader that gives what it is told to, however many answers there are."""

    name = "miscounting"
    kind: Literal["binary"] = "binary"
    about = ""

    def __init__(self, given: list[Mark]) -> None:
        self.given = given

    def grade(self, items: Sequence[Item], ask: Ask) -> list[Mark]:
        return self.given


@pytest.mark.parametrize("given", [[1.0] * 6, [Mark(score=1)] * 5, [Mark(score=1)] * 7])
def test_a_grader_of_ones_own_that_miscounts_is_refused(given: list[Mark]) -> None:
    with pytest.raises(ConfigError, match="'miscounting' did not give one Mark for each of 6"):
        compare(prompts(3), two(Models()), graders=[Miscounting(given)])


def test_a_gate_whose_grader_scored_nothing_has_no_verdict() -> None:
    moody = Function("moody", lambda answer, _prompt: None if answer.text == "no idea" else 1.0)
    for gate in (Gate(), Gate(grader="moody")):
        result = compare(prompts(4), two(Models(right=0)), graders=[moody, exact()], gate=gate)
        assert [each.grader for each in result.contrasts] == ["exact"]
        assert result.verdict is None
        assert "moody, which decides, could score no row of both arms" in result.warnings


def test_the_verdict_is_on_the_candidate_or_on_nobody() -> None:
    backend = Models()
    unheard = Arm("tuned", "old", stored=Silent())  # type: ignore[arg-type]
    arms = [Arm("base", "base", backend), unheard, Arm("good", "good", backend)]
    result = compare(prompts(30), arms)
    assert [each.arm for each in result.contrasts] == ["good"]
    assert result.verdict is None


class Silent:
    """Stored answers of which none is there."""

    name = "answers.jsonl"

    def find(self, messages: Sequence[ChatMessage], sample: int) -> None: ...


def test_a_judge_that_cannot_be_asked_costs_a_row_and_is_named() -> None:
    backend = Models()
    judge = pairwise(JudgeModel(backend, "nowhere"))
    with pytest.raises(NotFoundError, match="pairwise: no model 'nowhere'"):
        compare(prompts(50), two(backend), graders=[judge])
    assert backend.asked.total() == 2


def test_what_a_judge_is_asked_is_said_to_come_on_top() -> None:
    said: list[str] = []
    judge = pairwise(JudgeModel(FakeBackend(), "fake-base"))
    compare(prompts(2), two(Models()), graders=[judge], say=said.append)
    assert said[1] == "answers wanted: 4; the questions of pairwise come on top"


def test_a_second_run_asks_nobody_and_finds_the_same(cache: AnswerCache) -> None:
    backend = Models()
    first, second = (
        compare(prompts(30), two(backend), ask=Asker(cache=cache), now=lambda: 1.0)
        for _ in range(2)
    )
    assert set(backend.asked.values()) == {1}
    asked = [[arm.asked for arm in each.arms] for each in (first, second)]
    assert asked == [[30, 30], [0, 0]]
    plain = [
        each.model_copy(update={"arms": [a.model_copy(update={"asked": 0}) for a in each.arms]})
        for each in (first, second)
    ]
    assert plain[0] == plain[1]


def test_prices_and_tokens_are_counted_by_arm() -> None:
    backend = Models()
    arms = [Arm("base", "base", backend), Arm("tuned", "tuned", backend, price=Price(1e6, 1e6))]
    base, tuned = compare(prompts(10), arms).arms
    assert base.usd is None
    assert tuned.usd == tuned.tokens_read + tuned.tokens_written > 0
    assert tuned.seconds is not None


def test_what_is_known_before_is_said_before() -> None:
    said: list[str] = []
    backend = Models()
    compare(
        prompts(100), two(backend), say=lambda text: said.append(f"{len(backend.asked)} {text}")
    )
    assert said[0].startswith("0 100 rows detect a difference of 12.")
    assert said[1].startswith("0 answers wanted: 200")


def test_no_cluster_is_taken_for_a_row_of_its_own() -> None:
    first, *others = prompts(9)
    contrast = compare([replace(first, cluster="row 2"), *others], two(Models())).contrasts[0]
    assert (contrast.clusters, contrast.test) == (None, "exact McNemar")


def test_what_is_said_before_counts_clusters() -> None:
    for documents, said in [
        (20, "60 rows in 20 clusters detect a difference of 34.9 points or more"),
        (5, "60 rows in 5 clusters detect no difference at all"),
        (60, "60 rows detect a difference of"),
    ]:
        asked = [replace(p, cluster=f"doc {i % documents}") for i, p in enumerate(prompts(60))]
        sentences: list[str] = []
        compare(asked, two(Models()), say=sentences.append)
        assert sentences[0].startswith(said)


def test_a_model_that_recites_is_named() -> None:
    backend = Models(right=100)
    backend.right["tuned"] = 20  # questions above 20 are not known
    trained = [p for p in prompts(100, "train") if int(str(p.expected).strip("TRAINQ")) < 20]
    result = compare(prompts(100), two(backend), sets={"train": trained})
    assert any(w.startswith("tuned recites: by exact") for w in result.warnings)
    assert {row.set for row in result.rows} == {"", "train"}
    fair = compare(prompts(100), two(backend), sets={"train": prompts(100, "train")})
    assert not any("recites" in warning for warning in fair.warnings)


def test_a_model_that_has_forgotten_is_named() -> None:
    backend = Models(right=0, base=60)
    result = compare(prompts(3), two(backend), sets={"general": prompts(50, "train")})
    assert any("tuned has lost on the set general: by exact" in w for w in result.warnings)


class Kept:
    """Stored answers of nobody that is asked."""

    name = "answers.jsonl"

    def find(self, messages: Sequence[ChatMessage], sample: int) -> Answer | None:
        text = str(messages[-1].content)
        return None if text == "q1" else Answer(text=text.upper())


def test_stored_answers_are_an_arm() -> None:
    arms = [Arm("base", "base", Models()), Arm("old", "old", stored=Kept())]  # type: ignore[arg-type]
    result = compare(prompts(30), arms)
    assert result.rows[0].score("exact", "old") == 1
    assert result.rows[1].answers["old"][0].failure == "no stored answer to this prompt"
    assert (result.arms[1].backend, result.arms[1].answers) == ("", 29)


def wrong(backend: FakeBackend) -> list[tuple[list[Prompt], list[Arm], dict[str, object], str]]:
    base, tuned = two(backend)
    beams = replace(tuned, sampling=Sampling(num_beams=4))
    service = FakeBackend(capabilities=PROFILES["openai"].capabilities, name="openai")
    hosted = Arm("hosted", "m", service, sampling=Sampling(top_k=3))
    return [
        ([], [base, tuned], {}, "no prompt"),
        (prompts(1), [base], {}, "two arms"),
        (prompts(1), [base, base], {}, "two arms share a name"),
        (prompts(1), [base, tuned], {"graders": [exact(), exact()]}, "two graders share a name"),
        (prompts(1), [base, tuned], {"samples": 2}, "at temperature 0"),
        (prompts(1), [beams, base], {"samples": 2}, "2 answers by beam search are one answer"),
        (prompts(1), [base, hosted], {}, "arm hosted: openai knows no sampling setting top_k"),
        (prompts(1), [base, tuned], {"gate": Gate(margin=5)}, "the margin 5 is more than"),
        ([Prompt(prompts(1)[0].messages)], [base, tuned], {"graders": [exact()]}, "can score no"),
        (prompts(1), [base, tuned], {"sets": {"": prompts(2)}}, "a set has no name"),
    ]


@pytest.mark.parametrize("number", range(len(wrong(Models()))))
def test_what_cannot_be_compared_is_refused_before_anything_is_asked(number: int) -> None:
    backend = Models()
    asked, arms, how, words = wrong(backend)[number]
    with pytest.raises(ConfigError, match=words):
        compare(asked, arms, **how)  # type: ignore[arg-type]
    assert not backend.asked


def test_a_model_that_is_not_there_ends_it() -> None:
    arms = [*two(Models()), Arm("gone", "gone", Models())]
    with pytest.raises(NotFoundError):
        compare(prompts(5), arms)
