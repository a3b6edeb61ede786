"""Ask base and tuned model the same prompts, and grade the answers.  Counts and means only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from statistics import fmean

from ftjobs.backends.base import Backend
from ftjobs.errors import ConfigError
from ftjobs.evals.graders import Grader, exact
from ftjobs.evals.prompts import Prompt
from ftjobs.schema import Sampling

GREEDY = Sampling(temperature=0, max_tokens=512)
"""The likeliest token every time, so that the comparison can be repeated; and an end, since an
untuned model may never find one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said.  `finish_reason` "length" means that it was cut."""

    text: str
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt, both answers, and (base, tuned) by grader where an answer was expected."""

    prompt: Prompt
    base: Answer
    tuned: Answer
    scores: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Base against tuned, row by row in the order of the prompts."""

    base: str
    tuned: str
    sampling: Sampling
    graders: tuple[str, ...]
    rows: tuple[Row, ...]

    def graded(self, grader: str) -> int:
        """How many rows this grader scored: those with an expected answer."""
        return sum(grader in row.scores for row in self.rows)

    def means(self, grader: str) -> tuple[float, float] | None:
        """The mean scores of (base, tuned) over the graded rows; None if there are none."""
        pairs = [row.scores[grader] for row in self.rows if grader in row.scores]
        return (fmean(b for b, _ in pairs), fmean(t for _, t in pairs)) if pairs else None


def compare(
    backend: Backend,
    prompts: Iterable[Prompt],
    *,
    base: str,
    tuned: str | None,
    graders: Sequence[Grader] | None = None,
    sampling: Sampling = GREEDY,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Ask both models every prompt.

    One model answers everything before the other begins, so that a backend which holds one
    model at a time changes it once; the tuned one first, since it is the likelier to be missing.

    Args:
        backend: who answers.
        prompts: what is asked.
        base: name of the base model.
        tuned: name of the tuned model; None, which a job has before it succeeds, is an error.
        graders: scores; `exact()` alone by default.
        sampling: how answers are drawn; greedily by default.
        threads: requests under way at once; the backend knows best by default.
        progress: called with (answers so far, answers in all), perhaps from other threads.

    Raises:
        ConfigError: there is no prompt or no tuned model, or `sampling.n` is not 1, or two graders
            share a name.
        BackendError: a model cannot be asked; what was not yet asked is not asked any more.
    """
    if tuned is None:
        raise ConfigError("there is no tuned model: its job has not succeeded")
    prompts = tuple(prompts)
    graders = (exact(),) if graders is None else tuple(graders)
    _check(prompts, graders, sampling)
    done, total = count(1), 2 * len(prompts)

    def ask(model: str, prompt: Prompt) -> Answer:
        completion = backend.complete(model, prompt.messages, sampling=sampling)
        reason = completion.choices[0].finish_reason if completion.choices else None
        if progress is not None:
            progress(next(done), total)
        return Answer(completion.text, reason)

    threads = threads or backend.capabilities.requests_at_once
    tuned_answers, base_answers = _ask_all(ask, (tuned, base), prompts, threads)
    rows = map(_row(graders), prompts, base_answers, tuned_answers)
    return Comparison(base, tuned, sampling, tuple(g.name for g in graders), tuple(rows))


def _check(prompts: Sequence[Prompt], graders: Sequence[Grader], sampling: Sampling) -> None:
    if not prompts:
        raise ConfigError("there is no prompt to compare on")
    if sampling.n != 1:
        raise ConfigError(f"sampling.n is {sampling.n}: a comparison takes one answer a prompt")
    names = [grader.name for grader in graders]
    if len(set(names)) < len(names):
        raise ConfigError(f"two graders share a name: {', '.join(names)}")


def _ask_all(
    ask: Callable[[str, Prompt], Answer],
    models: Sequence[str],
    prompts: Sequence[Prompt],
    threads: int,
) -> list[list[Answer]]:
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="ftjobs-compare") as pool:
        try:
            return [list(pool.map(ask, [model] * len(prompts), prompts)) for model in models]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _row(graders: Sequence[Grader]) -> Callable[[Prompt, Answer, Answer], Row]:
    def row(prompt: Prompt, base: Answer, tuned: Answer) -> Row:
        wanted = prompt.expected
        scores = {
            grader.name: (grader(base.text, wanted), grader(tuned.text, wanted))
            for grader in graders
            if wanted is not None
        }
        return Row(prompt, base, tuned, scores)

    return row
