"""A comparison from beginning to end: ask, grade, contrast, judge.

compare(prompts, [Arm("base", …), Arm("tuned", …)], graders=[graders.exact()], ask=Asker(…))
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

from ftjobs.errors import ConfigError
from ftjobs.evals import graders as grading
from ftjobs.evals.arms import GREEDY, Arm, Question
from ftjobs.evals.asking import Asker, cost_of
from ftjobs.evals.checks import kind_of, require_comparable, require_gradable
from ftjobs.evals.contrasts import contrasts_of, verdict_of
from ftjobs.evals.graders.base import Biased, Grader, Item, Pair, PairGrader, Reports
from ftjobs.evals.missing import missing_share, missing_warnings
from ftjobs.evals.overfitting import findings
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import (
    Answer,
    ArmSummary,
    Bias,
    Comparison,
    Gate,
    Grading,
    LabelReport,
    Mark,
    Preference,
    Row,
    Source,
)
from ftjobs.evals.wording import power_sentence

__all__ = ["GREEDY", "compare"]

DISAGREEMENT = 0.2
"""Share of rows that are taken to come out differently, before anything is known."""


def compare(
    prompts: Iterable[Prompt],
    arms: Sequence[Arm],
    *,
    graders: Sequence[Grader | PairGrader] | None = None,
    sets: Mapping[str, Iterable[Prompt]] | None = None,
    samples: int = 1,
    gate: Gate | None = Gate(),  # noqa: B008 - frozen
    confidence: float = 0.95,
    seed: int = 0,
    ask: Asker | None = None,
    sources: Sequence[Source] = (),
    say: Callable[[str], None] = lambda _sentence: None,
    now: Callable[[], float] = time.time,
) -> Comparison:
    """Ask every arm every prompt, grade the answers, and say what follows.

    Args:
        prompts: what is asked, and what the verdict is about.
        arms: the first is the baseline, the second the candidate.
        graders: scores; `exact()` by default.
        sets: other prompts by name, such as "train" and "general": they show overfitting and
            forgetting.
        samples: answers a prompt and arm; their scores are averaged first.
        gate: what the candidate has to show; None asks for no verdict.
        confidence: that of the intervals.
        seed: of the resampling.
        ask: how models are asked; without a cache by default.
        sources: where the prompts came from.
        say: told in a sentence what can be known before anything is spent.
        now: Unix seconds.

    Raises:
        ConfigError: what was asked for cannot be compared; see `ftjobs.evals.checks`.
        BackendError: a model cannot be asked at all; see `Asker`, which raises more.
    """
    sets = sets or {}
    tasks = _tasks(prompts, sets)
    chosen = (grading.exact(),) if graders is None else tuple(graders)
    own = [task.prompt for task in tasks if task.set == ""]
    require_comparable(own, sets, arms, chosen, samples, gate)
    require_gradable([task.prompt for task in tasks], arms[0], graders or ())
    graders = chosen
    ask = Asker() if ask is None else ask
    _announce(tasks, arms, graders, samples, confidence, ask, say)
    _try_judges(tasks[:1], arms, graders, samples, ask)
    answers = _answers(tasks, arms, samples, ask)
    rows = _graded(tasks, arms, graders, answers, ask)
    found = contrasts_of(rows, arms, graders, confidence=confidence, seed=seed)
    summaries = tuple(_summary(arm, rows, ask) for arm in arms)
    names = [arm.name for arm in arms]
    warnings = [*missing_warnings(rows, graders, names), *findings(found, confidence)]
    decided = None
    if gate is not None and graders:
        missing = {g.name: missing_share(rows, g, (names[0], names[1])) for g in graders}
        decided = verdict_of(found, summaries, gate, confidence=confidence, missing=missing)
        if decided is None:
            decides = gate.grader or graders[0].name
            warnings.append(f"{decides}, which decides, could score no row of both arms")
    return Comparison(
        created=int(now()),
        confidence=confidence,
        seed=seed,
        samples=samples,
        sources=tuple(sources),
        arms=summaries,
        graders=tuple(_grading(grader, ask) for grader in graders),
        rows=rows,
        contrasts=found,
        verdict=decided,
        biases=tuple(_biases(graders, rows, arms)),
        labels=tuple(_labels(graders, tasks, arms, answers)),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """A prompt and the set it is of."""

    set: str
    prompt: Prompt


_Answers = Mapping[tuple[int, str], tuple[Answer, ...]]
"""By the task's place and the arm's name."""


def _tasks(prompts: Iterable[Prompt], sets: Mapping[str, Iterable[Prompt]]) -> list[_Task]:
    return [_Task(name, prompt) for name, each in {"": prompts, **sets}.items() for prompt in each]


# --- asking -----------------------------------------------------------------------------------


def _try_judges(
    first: Sequence[_Task],
    arms: Sequence[Arm],
    graders: Sequence[Grader | PairGrader],
    samples: int,
    ask: Asker,
) -> None:
    """Ask the judges about the first row: one that cannot be asked should not cost all answers."""
    judges = [grader for grader in graders if isinstance(grader, Biased)]
    if judges:
        _graded(first, arms, judges, _answers(first, arms, samples, ask), ask)


def _announce(
    tasks: Sequence[_Task],
    arms: Sequence[Arm],
    graders: Sequence[Grader | PairGrader],
    samples: int,
    confidence: float,
    ask: Asker,
    say: Callable[[str], None],
) -> None:
    """Say what so many rows can show, and what it will take, before anything is spent."""
    from ftjobs.evals.statistics import detectable

    own = [task.prompt for task in tasks if task.set == ""]
    # Where nothing is expected, a judge or a pattern grades every row.
    graded = [p for p in own if p.expected is not None or p.calls is not None] or own
    clusters = len({p.cluster or place for place, p in enumerate(graded)})
    least = detectable(clusters, disagreement=DISAGREEMENT, alpha=1 - confidence)
    say(
        power_sentence(
            len(graded),
            least,
            disagreement=DISAGREEMENT,
            clusters=clusters if clusters < len(graded) else None,
            confidence=confidence,
        )
    )
    wanted = [q for task in tasks for q in _questions(task, arms, samples)]
    count, missing, usd = ask.most(wanted)
    known = f", known already: {count - missing:,}" if missing < count else ""
    cost = f", at most ${usd:,.2f} for those to be asked" if usd else ""
    judges = [grader.name for grader in graders if isinstance(grader, Biased)]
    besides = f"; the questions of {' and '.join(judges)} come on top" if judges else ""
    say(f"answers wanted: {count:,}{known}{cost}{besides}")


def _questions(task: _Task, arms: Sequence[Arm], samples: int) -> Iterator[Question]:
    for arm in arms:
        for sample in range(samples):
            if arm.backend is not None:
                yield _question(task.prompt, arm, sample)


def _question(prompt: Prompt, arm: Arm, sample: int) -> Question:
    assert arm.backend is not None  # noqa: S101 - for the type checker; asked by the caller
    sampling = arm.sampling.model_copy(update={"n": 1})
    if sampling.seed is not None and sample:  # or it would be the first answer again
        sampling = sampling.model_copy(update={"seed": (sampling.seed + sample) % 2**63})
    return Question(
        backend=arm.backend,
        model=arm.model,
        messages=arm.messages(prompt),
        who=_account(arm),
        sampling=sampling,
        sample=sample,
        tools=prompt.tools,
        price=arm.price,
    )


def _account(arm: Arm) -> str:
    return f"arm {arm.name}"


def _answers(tasks: Sequence[_Task], arms: Sequence[Arm], samples: int, ask: Asker) -> _Answers:
    # Prompt by prompt, so that what a run leaves behind when it is stopped are whole rows.
    wanted = [q for task in tasks for q in _questions(task, arms, samples)]
    came = iter(ask(wanted))
    answers = {}
    for place, task in enumerate(tasks):
        for arm in arms:
            if arm.backend is None:
                answers[place, arm.name] = _stored(task.prompt, arm, samples)
            else:
                answers[place, arm.name] = tuple(next(came) for _ in range(samples))
    return answers


def _stored(prompt: Prompt, arm: Arm, samples: int) -> tuple[Answer, ...]:
    found = [arm.stored_answer(prompt, sample) for sample in range(samples)]
    kept = tuple(answer for answer in found if answer is not None)
    return kept or (Answer(failure="no stored answer to this prompt"),)


# --- grading ----------------------------------------------------------------------------------


def _graded(
    tasks: Sequence[_Task],
    arms: Sequence[Arm],
    graders: Sequence[Grader | PairGrader],
    answers: _Answers,
    ask: Asker,
) -> tuple[Row, ...]:
    marks = {g.name: _marks(g, tasks, arms, answers, ask) for g in graders if isinstance(g, Grader)}
    choices = {
        g.name: _preferences(g, tasks, arms, answers, ask)
        for g in graders
        if isinstance(g, PairGrader)
    }
    return tuple(
        Row(
            number=place + 1,
            set=task.set,
            line=task.prompt.line,
            messages=task.prompt.messages,
            expected=task.prompt.expected,
            tags=task.prompt.tags,
            cluster=task.prompt.cluster,
            answers={arm.name: answers[place, arm.name] for arm in arms},
            marks={
                name: {a.name: each[place, a.name] for a in arms} for name, each in marks.items()
            },
            preferences={
                name: {arm.name: each[place, arm.name] for arm in arms[1:]}
                for name, each in choices.items()
            },
        )
        for place, task in enumerate(tasks)
    )


_Given = TypeVar("_Given", Mark, Preference)


def _marks(
    grader: Grader, tasks: Sequence[_Task], arms: Sequence[Arm], answers: _Answers, ask: Asker
) -> dict[tuple[int, str], tuple[Mark, ...]]:
    items = [
        Item(task.prompt, answer, arm)
        for place, task in enumerate(tasks)
        for arm in arms
        for answer in answers[place, arm.name]
    ]
    graded = [item for item in items if not item.answer.failure]
    came = _all_of(grader.grade(graded, ask), Mark, grader.name, len(graded))
    return {
        (place, arm.name): tuple(
            Mark(score=None, note=answer.failure) if answer.failure else next(came)
            for answer in answers[place, arm.name]
        )
        for place in range(len(tasks))
        for arm in arms
    }


def _all_of(
    given: Sequence[_Given], kind: type[_Given], grader: str, count: int
) -> Iterator[_Given]:
    """What a grader gave, one for each that it was asked for: one more would shift all the rest."""
    if len(given) == count and all(isinstance(each, kind) for each in given):
        return iter(given)
    raise ConfigError(
        f"the grader {grader!r} did not give one {kind.__name__} for each of {count:,}",
        hint="A grader gives as many as it is asked for, in their order.",
    )


def _preferences(
    grader: PairGrader, tasks: Sequence[_Task], arms: Sequence[Arm], answers: _Answers, ask: Asker
) -> dict[tuple[int, str], tuple[Preference, ...]]:
    """Each answer against the baseline's of the same sample, by place and arm."""
    pairs = {
        (place, arm.name): [
            Pair(task.prompt, mine, other, arm, arms[0])
            for mine, other in zip(
                answers[place, arm.name], answers[place, arms[0].name], strict=False
            )
        ]
        for place, task in enumerate(tasks)
        for arm in arms[1:]
    }
    whole = [pair for each in pairs.values() for pair in each if _is_whole(pair)]
    came = _all_of(grader.prefer(whole, ask), Preference, grader.name, len(whole))
    nothing = Preference(arm_first=None, baseline_first=None, notes=("no answer", "no answer"))
    return {
        where: tuple(next(came) if _is_whole(pair) else nothing for pair in each)
        for where, each in pairs.items()
    }


def _is_whole(pair: Pair) -> bool:
    return not (pair.answer.failure or pair.baseline.failure)


def _grading(grader: Grader | PairGrader, ask: Asker) -> Grading:
    spent = ask.spent[grader.name]
    return Grading(
        name=grader.name,
        kind=kind_of(grader),
        about=grader.about,
        asked=spent.asked,
        usd=spent.usd,
    )


# --- what it took, and what is to be known about it ---------------------------------------------


def _summary(arm: Arm, rows: Sequence[Row], ask: Asker) -> ArmSummary:
    given = [answer for row in rows for answer in row.answers[arm.name] if not answer.failure]
    usages = [answer.usage for answer in given]
    costs = [cost_of(usage, arm.price) for usage in usages]
    seconds = [answer.seconds for answer in given if answer.seconds is not None]
    return ArmSummary(
        name=arm.name,
        model=arm.model,
        backend="" if arm.backend is None else arm.backend.name,
        sampling=arm.sampling,
        traits=arm.traits(),
        answers=len(given),
        asked=ask.spent[_account(arm)].asked,
        failures=sum(bool(answer.failure) for row in rows for answer in row.answers[arm.name]),
        tokens_read=sum(usage.prompt_tokens for usage in usages if usage),
        tokens_written=sum(usage.completion_tokens for usage in usages if usage),
        usd=None if not costs or None in costs else sum(cost or 0.0 for cost in costs),
        seconds=_latency(seconds),
    )


def _latency(seconds: Sequence[float]) -> tuple[float, float] | None:
    if len(seconds) < 2:
        return (seconds[0], seconds[0]) if seconds else None
    return median(seconds), quantiles(seconds, n=20, method="inclusive")[-1]


def _biases(
    graders: Sequence[Grader | PairGrader], rows: Sequence[Row], arms: Sequence[Arm]
) -> Iterator[Bias]:
    for grader in graders:
        if isinstance(grader, Biased):
            yield from grader.biases(rows, arms)


def _labels(
    graders: Sequence[Grader | PairGrader],
    tasks: Sequence[_Task],
    arms: Sequence[Arm],
    answers: _Answers,
) -> Iterator[LabelReport]:
    for grader in graders:
        if not isinstance(grader, Reports):
            continue
        for name in dict.fromkeys(task.set for task in tasks):
            for arm in arms:
                items = [
                    Item(task.prompt, answer, arm)
                    for place, task in enumerate(tasks)
                    for answer in answers[place, arm.name]
                    if task.set == name and not answer.failure
                ]
                report = grader.report(items)
                if report is not None:
                    yield report.model_copy(update={"arm": arm.name, "set": name})
