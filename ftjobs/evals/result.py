"""What a comparison found, as one document: arms, rows, contrasts, and the verdict.

Frozen models that dump to JSON and come back from it.  Scores are from 0 (worst) to 1 (best),
but for log-likelihoods; times are in seconds, money in US dollars, intervals at `confidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ftjobs.schema import ChatMessage, Sampling, Usage

__all__ = [
    "Answer",
    "ArmSummary",
    "Bias",
    "Comparison",
    "Contrast",
    "Gate",
    "Grading",
    "Kind",
    "LabelReport",
    "Mark",
    "Mean",
    "Preference",
    "Row",
    "Source",
    "Verdict",
    "Winner",
]

Kind = Literal["binary", "continuous", "preference"]
"""Of a score: 0 or 1; any number; or which of two answers is better."""

Winner = Literal["arm", "baseline", "tie"]


_Seconds = Annotated[float, Field(ge=0)]


class _Found(BaseModel):
    # A file from others may hold NaN, which no report could tell of.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Answer(_Found):
    """What a model said.

    Attributes:
        text: "" where it said nothing, or only called functions.
        finish_reason: "stop", "length" (it was cut), or a service's own word.
        tool_calls: the functions it called, as the wire's `tool_calls`.
        usage: tokens of the request, where the service counts them.
        seconds: from sending the request to the whole answer; None for one that was stored.
        failure: why there is no answer; "" where there is one.
    """

    text: str = ""
    finish_reason: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    usage: Usage | None = None
    seconds: float | None = None
    failure: str = ""


class Mark(_Found):
    """A grader's score of an answer; None where it cannot be graded, and `note` says why.

    Otherwise `note` is the grader's reason, such as a judge's rationale.
    """

    score: float | None
    note: str = ""


class Preference(_Found):
    """A judge's choice between an arm's answer and the baseline's, asked in both orders.

    Attributes:
        arm_first: who won while the arm's answer sat first; None where no verdict was given.
        baseline_first: who won while the baseline's answer sat first.
        notes: the judge's reasons, in this order.
    """

    arm_first: Winner | None
    baseline_first: Winner | None
    notes: tuple[str, str] = ("", "")

    @property
    def winner(self) -> Winner | None:
        """Who won in both orders; where they disagree, a tie.  None without both verdicts."""
        if self.arm_first is None or self.baseline_first is None:
            return None
        return self.arm_first if self.arm_first == self.baseline_first else "tie"

    @property
    def conflict(self) -> bool:
        """Whether the two orders disagree."""
        return None not in (self.arm_first, self.baseline_first) and (
            self.arm_first != self.baseline_first
        )

    @property
    def score(self) -> float | None:
        """1 for the arm, 0 for the baseline, 0.5 for a tie."""
        return (
            None if self.winner is None else {"arm": 1.0, "tie": 0.5, "baseline": 0.0}[self.winner]
        )


class Row(_Found):
    """A prompt with everybody's answers.

    Attributes:
        number: its place in the comparison, from 1.
        set: the set of prompts it is of; "" for the one that the verdict is about.
        line: its line in the file.
        cluster: rows of one cluster, such as questions about one document, are not independent.
        answers: by arm; several where several samples were drawn.
        marks: by grader, then by arm: one for each answer.
        preferences: by pairwise grader, then by arm: one for each answer, against the baseline's.
    """

    number: Annotated[int, Field(ge=1)]
    set: str = ""
    line: int | None = None
    messages: tuple[ChatMessage, ...]
    expected: str | None = None
    tags: tuple[str, ...] = ()
    cluster: str | None = None
    answers: Mapping[str, tuple[Answer, ...]]
    marks: Mapping[str, Mapping[str, tuple[Mark, ...]]] = Field(default_factory=dict)
    preferences: Mapping[str, Mapping[str, tuple[Preference, ...]]] = Field(default_factory=dict)

    def score(self, grader: str, arm: str) -> float | None:
        """The mean over the arm's answers; None where one of them could not be graded."""
        given = self.marks.get(grader, {}).get(arm) or self.preferences.get(grader, {}).get(arm)
        scores = [each.score for each in given or ()]
        known = [score for score in scores if score is not None]
        return fmean(known) if known and len(known) == len(scores) else None


class ArmSummary(_Found):
    """An arm and what it took.

    Attributes:
        traits: what sets it apart beside its model, in words, such as "system prompt".
        backend: who answered; "" where the answers were stored.
        asked: answers that this run asked for; the others were known already.
        failures: answers that could not be had.
        usd: what its answers cost, those known already included; None where no price is known.
        seconds: the (median, 95th percentile) of the answers that this run asked for.
    """

    name: str
    model: str
    backend: str = ""
    sampling: Sampling = Sampling()
    traits: tuple[str, ...] = ()
    answers: int = 0
    asked: int = 0
    failures: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    usd: Annotated[float, Field(ge=0)] | None = None
    seconds: tuple[_Seconds, _Seconds] | None = None


class Mean(_Found):
    """A mean over `n` rows with its standard error, cluster-robust where there are clusters."""

    value: float
    se: float | None
    n: int


class Contrast(_Found):
    """An arm against the baseline, by one grader on one set: the paired difference of the means.

    Attributes:
        n: rows that both have a score for.
        clusters: how many clusters they form; None where rows are independent.
        means: of (baseline, arm); None for preferences.
        difference: arm - baseline; for preferences the win rate (ties count half) - 0.5.
        low: lower bound of the interval of the difference.
        high: its upper bound.
        interval: the interval's method.
        p: of the hypothesis that there is no difference, two-sided; None where there is no test.
        p_adjusted: the same by Holm over all contrasts of the comparison.
        test: the test's name.
        detectable: the smallest difference that would be found with a power of 0.8 at this
            number of rows and as much disagreement as was seen; None where nothing varied.
        t_interval: the paired t interval, beside it; None where it has no meaning.
        wins: rows where the arm is better.
        ties: rows where both are equal.
        losses: rows where the arm is worse.
        conflicts: preferences whose two orders disagree.
    """

    grader: str
    kind: Kind
    arm: str
    baseline: str
    set: str = ""
    n: int
    clusters: int | None = None
    means: tuple[Mean, Mean] | None = None
    difference: float
    low: float
    high: float
    interval: str
    p: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    detectable: float | None = None
    t_interval: tuple[float, float] | None = None
    wins: int = 0
    ties: int = 0
    losses: int = 0
    conflicts: int = 0


class Bias(_Found):
    """Something a judge may have favoured beside quality.

    `kind` is "position", "length" or "family"; `rate` is how often it won, over `n` choices, with
    its interval; `warning` says that it is more than chance explains, and `sentence` says it all.
    """

    grader: str
    kind: str
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    warning: bool = False
    sentence: str


class LabelReport(_Found):
    """How one arm classified: accuracy, macro-averaged F1, and who was taken for whom.

    `labels` are those expected, in order, and "" for any other answer; `confusion[i][j]` counts
    the rows whose expected label is `labels[i]` and whose answer is `labels[j]`.
    """

    grader: str
    arm: str
    set: str = ""
    accuracy: float
    macro_f1: float
    labels: tuple[str, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]


class Gate(_Found):
    """What the candidate has to show.

    `better`: the whole interval of the difference lies above `margin`.  `non-inferior`: it lies
    above -`margin`.  `grader` decides; the first one by default.
    """

    rule: Literal["better", "non-inferior"] = "better"
    margin: Annotated[float, Field(ge=0)] = 0.0
    grader: str | None = None


class Verdict(_Found):
    """The answer to "should the candidate replace the baseline?", with its one sentence.

    fail: the interval lies below the bar on its whole length.  inconclusive: the bar is inside.
    """

    word: Literal["pass", "fail", "inconclusive"]
    gate: Gate
    grader: str
    arm: str
    baseline: str
    sentence: str


class Source(_Found):
    """Where a set of prompts came from; `sha256` of the file, "" where there is none."""

    set: str = ""
    path: str = ""
    sha256: str = ""
    prompts: int = 0


class Grading(_Found):
    """A grader: its name, the kind of its score, and how it was set up, in words.

    `asked` and `usd` say what a judge took in this run: questions, and dollars where it has a
    price.
    """

    name: str
    kind: Kind
    about: str = ""
    asked: int = 0
    usd: float | None = None


class Comparison(_Found):
    """Arms against a baseline, row by row, and what follows from it.

    The first arm is the baseline, the second the candidate that the verdict is about; the verdict
    is None where no row could be graded.  `seed` is that of the resampling and of the judges'
    seats.  `warnings` are sentences.
    """

    object: Literal["comparison"] = "comparison"
    version: Literal[1] = 1
    created: int
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    samples: int = 1
    sources: tuple[Source, ...] = ()
    arms: Annotated[tuple[ArmSummary, ...], Field(min_length=1)]
    graders: tuple[Grading, ...] = ()
    rows: tuple[Row, ...]
    contrasts: tuple[Contrast, ...] = ()
    verdict: Verdict | None = None
    biases: tuple[Bias, ...] = ()
    labels: tuple[LabelReport, ...] = ()
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        """Votes and links know a row by its number, and everything knows an arm by its name."""
        if len({row.number for row in self.rows}) < len(self.rows):
            raise ValueError("two rows have one number")
        if len({arm.name for arm in self.arms}) < len(self.arms):
            raise ValueError("two arms have one name")
        return self

    @property
    def baseline(self) -> str:
        """The name of the first arm."""
        return self.arms[0].name

    def contrast(self, grader: str, arm: str, set: str = "") -> Contrast | None:  # noqa: A002
        """What one grader found of one arm."""
        found = (
            each
            for each in self.contrasts
            if (each.grader, each.arm, each.set) == (grader, arm, set)
        )
        return next(found, None)
