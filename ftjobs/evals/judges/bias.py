"""What a judge may favour beside quality: the first seat, length, its own family.

Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"; Panickssery et al.
2024, "LLM Evaluators Recognize and Favor Their Own Generations".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from ftjobs.evals.judges.choices import IDENTICAL, Choice, Share, choices
from ftjobs.evals.judges.families import family_of
from ftjobs.evals.judges.lengths import length_bias
from ftjobs.evals.result import Bias, Preference, Row

__all__ = ["Named", "biases"]


class Named(Protocol):
    """An arm, or what a comparison says of it."""

    @property
    def name(self) -> str:
        """What the arm is called."""
        ...

    @property
    def model(self) -> str:
        """The model that answers."""
        ...


def biases(
    rows: Sequence[Row],
    arms: Sequence[Named],
    judges: Mapping[str, Sequence[str]],
    *,
    confidence: float = 0.95,
) -> tuple[Bias, ...]:
    """What the judges of a comparison may have favoured.

    Args:
        rows: with the marks and preferences that the judges gave.
        arms: the first is the baseline.
        judges: the models that each judge asks, by the grader's name.
        confidence: of the intervals (Wilson's).
    """
    found: list[Bias | None] = []
    for grader, models in judges.items():
        given = [p for row in rows for ps in row.preferences.get(grader, {}).values() for p in ps]
        made = list(choices(rows, grader, arms[0].name))
        found.append(_position(given, grader, confidence))
        found.append(length_bias(rows, made, grader, confidence=confidence))
        found += _families(arms, models, made, grader, confidence)
    return tuple(bias for bias in found if bias is not None)


# --- position -------------------------------------------------------------------------------


def _position(given: Sequence[Preference], grader: str, confidence: float) -> Bias | None:
    judged = [p for p in given if p.notes != (IDENTICAL, IDENTICAL)]
    seats = [list(_first_seat_won(preference)) for preference in judged]
    verdicts = [won for pair in seats for won in pair]
    if not verdicts:
        return None
    first = Share(sum(verdicts), len(verdicts), confidence)
    low, high = first.interval
    side = _favoured(seats, confidence)
    found = f"won {first} verdicts ({first.bounds})"
    start = f"The first answer {found}: no preference for a seat."
    if side:
        start = f"This judge favours the {side} answer: the first one {found}."
    return Bias(
        grader=grader,
        kind="position",
        rate=first.rate,
        low=low,
        high=high,
        n=first.n,
        warning=bool(side),
        sentence=f"{start} {_conflicts(judged)}",
    )


def _first_seat_won(preference: Preference) -> Iterator[bool]:
    """For each verdict that is no tie, whether the answer shown first won."""
    if preference.arm_first in ("arm", "baseline"):
        yield preference.arm_first == "arm"
    if preference.baseline_first in ("arm", "baseline"):
        yield preference.baseline_first == "baseline"


def _favoured(seats: Sequence[Sequence[bool]], confidence: float) -> str:
    """The seat that won more of the pairs which it decided; "" where chance explains it.

    A pair whose two verdicts agree gives each seat one win, and so tells nothing of seats: what
    is left are the pairs that a seat decided.  They are independent, unlike single verdicts.
    """
    leads = [2 * sum(pair) - len(pair) for pair in seats]
    decided = [lead > 0 for lead in leads if lead]
    low, high = Share(sum(decided), len(decided), confidence).interval
    return "first" if low > 0.5 else "second" if high < 0.5 else ""


def _conflicts(judged: Sequence[Preference]) -> str:
    both = [p for p in judged if p.winner is not None]
    share = Share(sum(p.conflict for p in both), len(both))
    return f"In {share} pairs the two orders disagree, which counts as a tie."


# --- family ---------------------------------------------------------------------------------


def _families(
    arms: Sequence[Named],
    models: Sequence[str],
    made: Sequence[Choice],
    grader: str,
    confidence: float,
) -> Iterator[Bias]:
    for model in dict.fromkeys(models):
        family = family_of(model)
        kin = [a for a in arms if a.model == model or (family and family_of(a.model) == family)]
        if not kin:
            continue
        names = {arm.name for arm in kin}
        won = _wins_of(names, arms[0].name, made, confidence)
        low, high = won.interval
        yield Bias(
            grader=grader,
            kind="family",
            rate=won.rate if won.n else None,
            low=low if won.n else None,
            high=high if won.n else None,
            n=won.n,
            warning=True,
            sentence=_kinship(model, family, kin, arms, won),
        )


def _wins_of(names: set[str], baseline: str, made: Sequence[Choice], confidence: float) -> Share:
    """How often those of the judge's family won against those that are not."""
    mixed = [choice for choice in made if (choice.arm in names) != (baseline in names)]
    won = sum(choice.arm_won == (choice.arm in names) for choice in mixed)
    return Share(won, len(mixed), confidence)


def _kinship(
    model: str, family: str, kin: Sequence[Named], arms: Sequence[Named], won: Share
) -> str:
    who = " and ".join(f"“{arm.name}”" for arm in kin) if len(kin) < len(arms) else "all arms"
    start = f"The judge {model} and {who} are of one family of models ({family})"
    itself = [arm.name for arm in kin if arm.model == model]
    if itself:
        start = f"The judge {model} is the model of “{itself[0]}” itself"
    sentence = f"{start}: judges tend to favour answers like their own."
    return f"{sentence} Its kind won {won} choices ({won.bounds})." if won.n else sentence
