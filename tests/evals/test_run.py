import pickle
import threading
from collections.abc import Sequence

import pytest

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ConfigError, NotFoundError, ServiceError
from ftjobs.evals import Comparison, Prompt, compare
from ftjobs.evals.graders import Grader, exact
from ftjobs.schema import ChatMessage, Sampling


def ask(question: str, expected: str | None = None) -> Prompt:
    return Prompt((ChatMessage(role="user", content=question),), expected)


def answers(model: str, messages: Sequence[ChatMessage]) -> str:
    question = str(messages[-1].content)
    return question.upper() if model == "tuned" else question


def backend() -> FakeBackend:
    return FakeBackend(answers=answers, models=("base", "tuned"))


def test_rows_keep_the_order_of_the_prompts() -> None:
    prompts = [ask(f"q{i}", f"Q{i}") for i in range(50)]
    result = compare(backend(), prompts, base="base", tuned="tuned", threads=8)
    assert [row.prompt for row in result.rows] == prompts
    assert [row.tuned.text for row in result.rows] == [f"Q{i}" for i in range(50)]
    assert result.means("exact") == (0.0, 1.0)
    assert pickle.loads(pickle.dumps(result)) == result


def test_prompts_without_an_expected_answer_are_not_graded() -> None:
    result = compare(backend(), [ask("a", "A"), ask("b")], base="base", tuned="tuned")
    assert result.graded("exact") == 1
    assert [dict(row.scores) for row in result.rows] == [{"exact": (0.0, 1.0)}, {}]
    assert compare(backend(), [ask("b")], base="base", tuned="tuned").means("exact") is None


def test_one_model_answers_everything_before_the_other() -> None:
    order: list[str] = []
    lock = threading.Lock()

    def note(model: str, messages: Sequence[ChatMessage]) -> str:
        with lock:
            order.append(model)
        return ""

    noting = FakeBackend(answers=note, models=("base", "tuned"))
    compare(noting, [ask("q")] * 6, base="base", tuned="tuned")
    assert order == ["tuned"] * 6 + ["base"] * 6


def test_progress_counts_every_answer() -> None:
    seen: list[tuple[int, int]] = []
    compare(
        backend(),
        [ask("q")] * 5,
        base="base",
        tuned="tuned",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert sorted(seen) == [(i, 10) for i in range(1, 11)]


def test_an_answer_that_was_cut_says_so() -> None:
    long = FakeBackend(answers={"q": "one two three"}, models=("m",))
    result = compare(long, [ask("q")], base="m", tuned="m", sampling=Sampling(max_tokens=2))
    assert result.rows[0].base.finish_reason == "length"


def test_an_error_ends_the_run() -> None:
    with pytest.raises(NotFoundError):
        compare(backend(), [ask("q")] * 9, base="base", tuned="nowhere")
    failing = backend()
    failing.fail_next("complete", ServiceError("broken"))
    with pytest.raises(ServiceError):
        compare(failing, [ask("q")] * 9, base="base", tuned="tuned")


def test_what_cannot_be_compared_is_refused() -> None:
    def attempt(prompts: list[Prompt], **settings: object) -> Comparison:
        return compare(backend(), prompts, base="base", tuned="tuned", **settings)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match="no prompt"):
        attempt([])
    with pytest.raises(ConfigError, match="one answer a prompt"):
        attempt([ask("q")], sampling=Sampling(n=2))
    with pytest.raises(ConfigError, match="share a name"):
        attempt([ask("q")], graders=[exact(), Grader("exact", lambda a, e: 0.0)])


def test_a_job_that_has_no_model_yet_is_said_so() -> None:
    with pytest.raises(ConfigError, match="has not succeeded"):
        compare(FakeBackend(), [ask("q")], base="fake-base", tuned=None)
