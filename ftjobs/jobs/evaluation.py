"""`[evaluation]`: a comparison as a user writes it down, in a job file or in one of its own.

[evaluation]
prompts = "eval.jsonl"
graders = ["exact", "chrf"]

[evaluation.arms.rag]
documents = "handbook/"

`ftjobs.evals.spec` makes arms and graders of it; `ftjobs.jobs.jobfile.read_evaluation` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    create_model,
    model_validator,
)

from ftjobs.jobs.fields import explain
from ftjobs.jobs.tables import Source, Table, found, listed
from ftjobs.schema import FOR_PROGRAMS, Sampling

__all__ = [
    "READING",
    "ArmTable",
    "ComparisonFile",
    "Evaluation",
    "GateTable",
    "JudgeTable",
    "with_graders_found",
]


def _fields() -> Iterator[tuple[str, Any]]:
    """The fields of `Sampling` that arms have, with its limits, words and defaults."""
    for name, field in Sampling.model_fields.items():
        kind: Any = field.annotation
        if get_origin(kind) is tuple:  # a list in TOML
            kind = Annotated[kind, BeforeValidator(_one_or_many)]
        if name not in {"n", *FOR_PROGRAMS}:
            yield name, (kind, field)


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else listed(value)


if TYPE_CHECKING:
    _Sampled = Table
else:
    _Sampled = create_model("_Sampled", __base__=Table, **dict(_fields()))

Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""What an arm or a set is called: it stands in reports."""

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _two(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("must be two prices, such as [0.15, 0.60]")
    return tuple(value)


Price = Annotated[tuple[Dollars, Dollars], BeforeValidator(_two)]
"""US dollars for a million tokens that are read, and that are written."""


class _Asked(_Sampled):
    """How a model is asked: the fields of `Sampling`, but those for programs and `n`, which is
    `Evaluation.samples`.
    """

    model: Text | None = None
    backend: Text | None = None
    price: Price | None = None

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        try:
            Sampling.model_validate(self.drawn())
        except ValidationError as error:
            raise ValueError(explain(error)) from None
        return self

    def drawn(self) -> dict[str, Any]:
        """The fields of `Sampling` that are given."""
        names = self.model_fields_set & Sampling.model_fields.keys()
        return {name: getattr(self, name) for name in Sampling.model_fields if name in names}


RUBRICS = (".txt", ".md", ".markdown")
"""How a rubric's file is called.  A judge, which may be anywhere, is sent its text, and a file of
others could name any: a private key, for one."""

READING = ("judge", "pairwise", "openai", "json-schema")
"""Graders whose argument is a file."""


def _rubric(path: Path) -> Path:
    if path.suffix.lower() not in RUBRICS:
        raise ValueError(f"a rubric is a text: its name ends in {', '.join(RUBRICS)}")
    return path


def _grader(text: str) -> str:
    name, _, argument = text.partition(":")
    if name in ("judge", "pairwise") and argument:
        _rubric(Path(argument))
    return text


class ArmTable(_Asked):
    """`[evaluation.arms.NAME]`: who answers, and how it is asked.

    Attributes:
        model: a base model, a tuned model or a checkpoint; the baseline's by default.
        backend: where it is; where the comparison runs by default.
        price: US dollars for a million tokens read and written.
        system: a system message instead of the prompt's own.
        examples: a prompt file whose answers are shown before the question.
        documents: a folder or file that is searched for passages that go before the question.
        passages: how many passages, 1 to 100.
        answers: a file of stored answers; nobody is asked.
    """

    FOLDERS = frozenset({"documents"})

    system: Text | None = None
    examples: Source | None = None
    documents: Source | None = None
    passages: Annotated[int, Field(ge=1, le=100)] | None = None
    answers: Source | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.passages is not None and self.documents is None:
            raise ValueError("passages are those of documents, and there are none")
        asking = ("backend", "price", "system", "examples", "documents")
        if self.answers is not None and (vain := [key for key in asking if getattr(self, key)]):
            raise ValueError(f"answers are stored: {vain[0]} would change nothing")
        return self


class JudgeTable(_Asked):
    """`[evaluation.judge]`: the model that judges; `rubric` is a text file of what to look for.

    Only imported graders, which name their own model, can do without one.
    """

    rubric: Annotated[Source, AfterValidator(_rubric)] | None = None


class GateTable(Table):
    """`[evaluation.gate]`: what the candidate has to show; see `ftjobs.evals.result.Gate`."""

    rule: Literal["better", "non-inferior"] = "better"
    margin: Dollars = 0.0
    grader: Text | None = None


class Evaluation(Table):
    """`[evaluation]`: who is compared with whom, on what and by what.

    Attributes:
        backend: where arms and judge are that name no other; by default that of the file.
        base: the baseline's model; in a job file, the job's own by default.
        tuned: the candidate's model.
        prompts: what the verdict is about.
        sets: other prompt files by name, such as "train" and "general".
        graders: by name, such as "exact" or "json-schema:answer.json"; see
            `ftjobs.evals.graders.named`.
        arms: by name.  The baseline is "base", or else the first; the candidate "tuned", or else
            the one that follows.  Tables of these names say more about those models.
        samples: answers a prompt and arm, 1 to 128.
        seed: of the resampling and of the judge's seats.
        cluster_by: the field or tag that names a prompt's cluster.
        max_cost: US dollars that the comparison may cost.
    """

    backend: Text | None = None
    base: Text | None = None
    tuned: Text | None = None
    prompts: Source | None = None
    sets: Mapping[Name, Source] = Field(default_factory=dict)
    graders: Annotated[
        tuple[Annotated[str, AfterValidator(_grader)], ...], BeforeValidator(listed)
    ] = ()
    arms: Mapping[Name, ArmTable] = Field(default_factory=dict)
    judge: JudgeTable | None = None
    gate: GateTable = GateTable()
    samples: Annotated[int, Field(ge=1, le=128)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    cluster_by: Text | None = None
    max_cost: Dollars | None = None

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for name, model in (("base", self.base), ("tuned", self.tuned)):
            table = self.arms.get(name)
            if model is not None and table is not None and table.model is not None:
                raise ValueError(f"{name} is said twice: here, and as arms.{name}.model")
        return self


class ComparisonFile(Table):
    """A file with a comparison and no job."""

    LEAST = 'A comparison says, under [evaluation]: prompts = "eval.jsonl"'

    backend: Text | None = None
    evaluation: Evaluation


def with_graders_found(evaluation: Evaluation, file: Path) -> Evaluation:
    """`evaluation` with the files of its graders taken from the folder of `file`.

    Raises:
        ConfigError: there is no such file.
    """
    moved = {text: _moved(text, file) for text in evaluation.graders}
    gate = evaluation.gate
    grader = None if gate.grader is None else moved.get(gate.grader, gate.grader)
    update = {
        "graders": tuple(moved[text] for text in evaluation.graders),
        "gate": gate.model_copy(update={"grader": grader}),
    }
    return evaluation.model_copy(update=update)


def _moved(text: str, file: Path) -> str:
    name, _, argument = text.partition(":")
    if name not in READING or not argument:
        return text
    path, mark, part = argument.partition("#") if name == "openai" else (argument, "", "")
    place = found(file, Path(path), "evaluation.graders", folder=False)
    return f"{name}:{place.as_posix()}{mark}{part}"
