"""From the shapes of OpenAI's grader JSON to graders that run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ftjobs.errors import ConfigError, UnsupportedError
from ftjobs.evals.judges.base import JUDGING, JudgeModel, require_judge, sampling_for
from ftjobs.evals.judges.formula import Formula
from ftjobs.evals.judges.hosted import Asked, Combined, Compared, Imported, Part
from ftjobs.evals.judges.pointwise import number_in
from ftjobs.evals.judges.replies import Unreadable
from ftjobs.evals.judges.shapes import (
    LabelModel,
    Message,
    Multi,
    Python,
    ScoreModel,
    Shape,
    StringCheck,
    TextSimilarity,
    shape_of,
)
from ftjobs.evals.judges.similarity import similarity
from ftjobs.evals.judges.templates import Template
from ftjobs.schema import Sampling

__all__ = ["imported"]

OPERATIONS: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "neq": lambda text, reference: text != reference,  # as the guide calls it
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}

ENDING = """\
First give your reasons in a few sentences. Then end with one line that is nothing but this JSON \
object, where {what}:
{form}"""


def imported(shape: Shape, judge: JudgeModel | None) -> Imported:
    """The grader of a shape.

    Raises:
        ConfigError: a template or a formula is wrong, or a model is to be asked without a judge.
        UnsupportedError: it cannot be run here.
    """
    name = shape.name or shape.type
    part = _part(shape, name, judge)
    threshold = getattr(shape, "pass_threshold", None)
    is_binary = isinstance(shape, StringCheck | LabelModel) or threshold is not None
    span = shape.span if isinstance(shape, ScoreModel) else (0.0, 1.0)
    return Imported(name, "binary" if is_binary else "continuous", part, span, threshold)


def _part(shape: Shape, name: str, judge: JudgeModel | None) -> Part:
    match shape:
        case StringCheck():
            return _compared(shape, name, partial(_checked, OPERATIONS[shape.operation]))
        case TextSimilarity():
            return _compared(shape, name, similarity(shape.evaluation_metric, name))
        case ScoreModel():
            return _scored(shape, name, require_judge(judge, name))
        case LabelModel():
            return _labelled(shape, name, require_judge(judge, name))
        case Multi():
            return _combined(shape, name, judge)
        case Python():
            raise UnsupportedError(
                f"the grader {name} runs Python code out of its file, which ftjobs does not do",
                hint="Write it as a grader of your own: ftjobs.evals.graders.base.Function.",
            )


def _checked(operation: Callable[[str, str], bool], text: str, reference: str) -> float:
    return float(operation(text, reference))


def _compared(
    shape: StringCheck | TextSimilarity, name: str, measure: Callable[[str, str], float | None]
) -> Compared:
    how = shape.operation if isinstance(shape, StringCheck) else shape.evaluation_metric
    return Compared(
        about=f"{shape.input} {how} {shape.reference}",
        input=Template.read(shape.input, f"{name}: input"),
        reference=Template.read(shape.reference, f"{name}: reference"),
        measure=measure,
    )


def _scored(shape: ScoreModel, name: str, judge: JudgeModel) -> Asked:
    low, high = shape.span
    return Asked(
        about=f"{judge.model or shape.model} scores from {low:g} to {high:g}{_left_out(shape)}",
        who=name,
        judge=judge,
        model=shape.model,
        sampling=_sampling(shape, judge.model or shape.model),
        messages=_messages(shape.input, name),
        ending=ENDING.format(what=f"N is a number from {low:g} to {high:g}", form='{"result": N}'),
        key="result",
        score=partial(_clamped, low, high),
        lowest=low,
    )


def _clamped(low: float, high: float, value: object) -> float:
    """Values beyond the range count as its end, as they did at OpenAI."""
    return min(max(number_in(value, "result"), low), high)


def _labelled(shape: LabelModel, name: str, judge: JudgeModel) -> Asked:
    labels = ", ".join(json.dumps(label, ensure_ascii=False) for label in shape.labels)
    return Asked(
        about=f"{judge.model or shape.model} labels; passing: {', '.join(shape.passing_labels)}",
        who=name,
        judge=judge,
        model=shape.model,
        sampling=None,
        messages=_messages(shape.input, name),
        ending=ENDING.format(what=f"L is one of {labels}", form='{"label": L}'),
        key="label",
        score=partial(_passing, frozenset(shape.labels), frozenset(shape.passing_labels)),
        lowest=0.0,
    )


def _passing(labels: frozenset[str], passing: frozenset[str], value: object) -> float:
    if not isinstance(value, str) or value not in labels:
        raise Unreadable("the judge's label is none of those it was given")
    return float(value in passing)


def _messages(messages: Sequence[Message], name: str) -> tuple[tuple[str, Template], ...]:
    return tuple(
        (message.role, Template.read(message.text(name), f"{name}: input[{number}]"))
        for number, message in enumerate(messages)
    )


def _sampling(shape: ScoreModel, model: str) -> Sampling | None:
    """The grader's own parameters over those that suit the model; None where it has none."""
    given = shape.sampling_params.given()
    base = sampling_for(model)
    if base == JUDGING:
        # Without a temperature of its own, `top_p` would choose among one token.
        base = Sampling(max_tokens=JUDGING.max_tokens) if "top_p" in given else base
    else:
        given.pop("max_tokens", None)  # which reasoning models refuse under this name
    return base.model_copy(update=given) if given else None


def _left_out(shape: ScoreModel) -> str:
    effort = shape.sampling_params.reasoning_effort
    return f"; its reasoning_effort {effort!r} is left out" if effort else ""


def _combined(shape: Multi, name: str, judge: JudgeModel | None) -> Combined:
    formula = Formula.read(shape.calculate_output, shape.graders)
    parts: dict[str, Part] = {}
    for key, value in shape.graders.items():
        inner = shape_of(value, f"{name}: graders.{key}")
        if isinstance(inner, Multi):
            raise ConfigError(f"{name}: graders.{key}: a multi grader inside a multi grader")
        part = _part(inner, inner.name or key, judge)
        parts[key] = replace(part, who=name) if isinstance(part, Asked) else part
    return Combined(parts, formula)
