"""What cannot be compared, refused before anything is spent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

from ftjobs.backends.base import Backend
from ftjobs.backends.chat import check_sampling
from ftjobs.errors import ConfigError
from ftjobs.evals.arms import Arm, Question
from ftjobs.evals.graders.base import Function, Grader, Item, PairGrader
from ftjobs.evals.prompts import Prompt
from ftjobs.evals.result import Answer, Gate, Kind

__all__ = ["kind_of", "require_comparable", "require_gradable"]


def require_comparable(
    prompts: Sequence[Prompt],
    sets: Collection[str],
    arms: Sequence[Arm],
    graders: Sequence[Grader | PairGrader],
    samples: int,
    gate: Gate | None,
) -> None:
    """Make sure that there are prompts, arms and graders by which a verdict can be found.

    Raises:
        ConfigError: there are not; the message names what is wrong.
    """
    if not prompts:
        raise ConfigError("there is no prompt to compare on")
    if len(arms) < 2:
        raise ConfigError("a comparison takes two arms at least: a baseline and a candidate")
    if "" in sets:
        raise ConfigError("a set has no name", hint="Name it: --set NAME=FILE.")
    _require_unique("arms", [arm.name for arm in arms])
    _require_unique("graders", [grader.name for grader in graders])
    if gate is not None:
        _require_decidable(gate, graders)
    for arm in arms:
        if arm.backend is not None:
            _require_askable(arm, arm.backend, samples)


def _require_askable(arm: Arm, backend: Backend, samples: int) -> None:
    check_sampling(arm.sampling, backend.capabilities, f"arm {arm.name}: {backend.name}")
    searched = arm.sampling.beams > 1
    if samples > 1 and (searched or arm.sampling.temperature == 0):
        how = "by beam search" if searched else "at temperature 0"
        raise ConfigError(
            f"arm {arm.name}: {samples} answers {how} are one answer",
            hint="Choose a temperature above 0, or one sample.",
        )


def _require_unique(what: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        raise ConfigError(f"two {what} share a name: {', '.join(names)}")


def _require_decidable(gate: Gate, graders: Sequence[Grader | PairGrader]) -> None:
    deciding = [grader for grader in graders if gate.grader in (None, grader.name)]
    if not deciding and gate.grader is not None:
        known = ", ".join(grader.name for grader in graders)
        raise ConfigError(
            f"the gate's grader {gate.grader!r} is not asked for",
            hint=f"There are: {known or 'none'}.",
        )
    if gate.margin > 1 and deciding and kind_of(deciding[0]) != "continuous":
        raise ConfigError(
            f"the margin {gate.margin:g} is more than any score can differ by",
            hint="A margin of 0.05 is 5 points.",
        )


def kind_of(grader: Grader | PairGrader) -> Kind:
    """The kind of a grader's scores."""
    return grader.kind if isinstance(grader, Grader) else "preference"


def require_gradable(
    prompts: Sequence[Prompt], arm: Arm, graders: Sequence[Grader | PairGrader]
) -> None:
    """Make sure that each grader which is a function can score a prompt.

    It is tried on the answers that are expected; `arm` stands for any.

    Raises:
        ConfigError: one of them can score none.
    """
    items = [Item(prompt, _expected(prompt), arm) for prompt in prompts]
    for grader in graders:
        note = _refusal(grader, items)
        if note is not None:
            raise ConfigError(
                f"{grader.name} can score no prompt: {note}",
                hint="Say what is expected of the prompts, or choose other graders.",
            )


def _refusal(grader: Grader | PairGrader, items: Sequence[Item]) -> str | None:
    """Why a function scores none of these; None if it scores one, or asks a model."""
    if not isinstance(grader, Function):
        return None
    with suppress(ConfigError):  # it may well take what models say
        marks = grader.grade(items, _nobody)
        if all(mark.score is None for mark in marks):
            return marks[0].note
    return None


def _expected(prompt: Prompt) -> Answer:
    return Answer(text=prompt.expected or "x", tool_calls=prompt.calls or ())


def _nobody(questions: Sequence[Question]) -> Sequence[Answer]:
    return [Answer(failure="nobody is asked") for _ in questions]
