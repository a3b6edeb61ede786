"""A comparison that was written down → what `ftjobs.evals.compare` takes: arms, graders, prompts.

    table = read_evaluation("compare.toml")
    open = once(client_of)                     # a backend's name, or None → the backend
    arms = arms_of(table, open=open)
    graders = graders_of(table, judge=judge_of(table, open=open))
    prompts, sets, sources = prompts_of(table)

Backends are opened by whoever calls, since only the caller knows whose word a name is: one that a
file names must get no key that is not its own.  `backends_in` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ftjobs.backends.base import Backend
from ftjobs.errors import ConfigError
from ftjobs.evals.arms import GREEDY, Arm, Price
from ftjobs.evals.prompts import TABLES, Prompt, clustered, read_prompts, source_of
from ftjobs.evals.result import Gate, Source
from ftjobs.jobs.evaluation import ArmTable, Evaluation, JudgeTable
from ftjobs.jobs.fields import build
from ftjobs.schema import Sampling

if TYPE_CHECKING:
    from ftjobs.evals.graders.base import Grader, PairGrader
    from ftjobs.evals.judges.base import JudgeModel
    from ftjobs.evals.retrieval import Documents

__all__ = [
    "Open",
    "arm_of_words",
    "arms_of",
    "backends_in",
    "gate_of",
    "graders_of",
    "judge_of",
    "once",
    "prompts_of",
    "with_arms",
]

Open = Callable[[str | None], Backend]
"""The backend of a name; of None, the one where things run by default."""

PASSAGES = 4
LONGEST_NAME = 64
BASE, TUNED = "base", "tuned"
ANSWER_FILES = (".jsonl", ".jsonl.gz", ".jsonl.zst", *TABLES)


def once(open: Open) -> Open:  # noqa: A002 - what it does
    """`open`, that opens each backend once, so that arms and judge share it."""
    return cache(open)


def backends_in(evaluation: Evaluation) -> set[str]:
    """The backends that a comparison names."""
    tables: list[ArmTable | JudgeTable] = [*evaluation.arms.values()]
    tables += [evaluation.judge] if evaluation.judge is not None else []
    names = {evaluation.backend, *(table.backend for table in tables)}
    return {name for name in names if name is not None}


# --- arms -------------------------------------------------------------------------------------


def arm_of_words(text: str) -> tuple[str, ArmTable]:
    """The name and the table of an arm in a command's words.

    `NAME=MODEL`, `NAME=MODEL@BACKEND`, or `NAME=answers.jsonl` for answers that are stored.  A
    model whose own name holds an @ is written with one more behind it: `NAME=org/model@v2@`.

    Raises:
        ConfigError: it is none of these, or there is no such file.
    """
    name, _, asked = text.partition("=")
    if not name or not asked or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(
            f"{text!r} is no arm",
            hint="Write NAME=MODEL, NAME=MODEL@BACKEND or NAME=answers.jsonl.",
        )
    if asked.lower().endswith(ANSWER_FILES):
        return name, build(ArmTable, {"answers": _file(asked)})
    model, _, backend = asked.rpartition("@") if "@" in asked else (asked, "", "")
    return name, build(ArmTable, {"model": model, "backend": backend or None})


def _file(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        raise ConfigError(f"{path}: no such file", hint="Check the path of the stored answers.")
    return found


def with_arms(evaluation: Evaluation, arms: Iterable[tuple[str, ArmTable]]) -> Evaluation:
    """`evaluation` with more arms behind its own.  ConfigError if a name is taken."""
    added = dict(evaluation.arms)
    for name, table in arms:
        if name in added:
            raise ConfigError(f"two arms are called {name!r}", hint="Give each a name of its own.")
        added[name] = table
    return evaluation.model_copy(update={"arms": added})


def arms_of(
    evaluation: Evaluation,
    *,
    open: Open,  # noqa: A002 - what it does
    sampling: Sampling = GREEDY,
) -> tuple[Arm, ...]:
    """The arms of a comparison: the baseline, the candidate, then the others as written.

    Args:
        evaluation: what was written down.
        open: opens a backend; each is opened once.
        sampling: how answers are drawn, where an arm does not say.

    Raises:
        ConfigError: there are fewer than two arms, an arm has no model, or a file of it cannot
            be used.
        DatasetError: a line of such a file is wrong.
    """
    tables = _tables(evaluation)
    if len(tables) < 2:
        raise ConfigError(
            "a comparison takes two arms: a baseline and a candidate",
            hint="Name --base and --tuned, or more arms with --arm NAME=MODEL.",
        )
    first = next(iter(tables.values()))
    opened, here = once(open), evaluation.backend
    asked = () if evaluation.prompts is None else (evaluation.prompts,)
    return tuple(
        _arm(name, _like(first, table), lambda named: opened(named or here), sampling, asked)
        for name, table in tables.items()
    )


def _tables(evaluation: Evaluation) -> dict[str, ArmTable]:
    """The arms in order: "base", or else the first table; then "tuned"; then the others."""
    tables = dict(evaluation.arms)
    for name, model in ((BASE, evaluation.base), (TUNED, evaluation.tuned)):
        if model is not None:
            tables[name] = tables.get(name, ArmTable()).model_copy(update={"model": model})
    others = [name for name in tables if name not in (BASE, TUNED)]
    order = [BASE, TUNED, *others] if BASE in tables else [*others[:1], TUNED, *others[1:]]
    return {name: tables[name] for name in order if name in tables}


def _like(first: ArmTable, table: ArmTable) -> ArmTable:
    """An arm that names no model: the baseline's, where the baseline is, at its price.

    At another service the price is another, and unknown.
    """
    if table.model is not None or table.answers is not None:
        return table
    update: dict[str, object] = {"model": first.model}
    if table.backend in (None, first.backend):
        update |= {"backend": first.backend, "price": table.price or first.price}
    return table.model_copy(update=update)


def _arm(
    name: str, table: ArmTable, opened: Open, sampling: Sampling, prompts: Iterable[Path]
) -> Arm:
    drawn = build(Sampling, {**sampling.model_dump(exclude_unset=True), **table.drawn()})
    if table.answers is not None:
        return _stored_arm(name, table, drawn)
    if table.model is None:
        raise ConfigError(f"the arm {name!r} has no model", hint="Name it, or a base model.")
    return Arm(
        name=name,
        model=table.model,
        backend=opened(table.backend),
        sampling=drawn,
        system=table.system,
        examples=() if table.examples is None else tuple(read_prompts(table.examples)),
        price=_price(table),
        documents=_documents(table, prompts),
    )


def _documents(table: ArmTable, prompts: Iterable[Path]) -> Documents | None:
    """What is searched: never the prompts themselves, which say what is expected."""
    if table.documents is None:
        return None
    from ftjobs.evals.retrieval import Documents

    passages = table.passages or PASSAGES
    return Documents.read(table.documents, passages=passages, leave_out=prompts)


def _stored_arm(name: str, table: ArmTable, sampling: Sampling) -> Arm:
    from ftjobs.evals.stored import Stored

    assert table.answers is not None  # noqa: S101 - for the type checker; the caller asked
    stored = Stored.read(table.answers, model=table.model, sampling=sampling)
    drawn = sampling if stored.sampling is None else stored.sampling
    return Arm(name, stored.model or stored.name, sampling=drawn, stored=stored)


def _price(table: ArmTable | JudgeTable) -> Price | None:
    return None if table.price is None else Price(*table.price)


# --- judge, graders, gate ---------------------------------------------------------------------


def judge_of(evaluation: Evaluation, *, open: Open) -> JudgeModel | None:  # noqa: A002
    """The judge that is written down, None if there is none.  `open` as for `arms_of`."""
    table = evaluation.judge
    if table is None:
        return None
    from ftjobs.evals.judges.base import JudgeModel, sampling_for

    drawn, model = table.drawn(), table.model or ""
    own = sampling_for(model).model_dump(exclude_unset=True)
    return JudgeModel(
        backend=open(table.backend or evaluation.backend),
        model=model,
        sampling=build(Sampling, {**own, **drawn}) if drawn else None,
        price=_price(table),
    )


def graders_of(
    evaluation: Evaluation, *, judge: JudgeModel | None = None
) -> tuple[Grader | PairGrader, ...] | None:
    """The graders that are written down, None if none is: then there is a default.

    "judge" scores answers and "pairwise" chooses between them, both by the rubric that is written
    down; the other names are those of `ftjobs.evals.graders.named`.

    Raises:
        ConfigError: a grader is unknown, or asks a judge and there is none.
    """
    if not evaluation.graders:
        return None
    return tuple(_grader(text, evaluation, judge) for text in dict.fromkeys(evaluation.graders))


def _grader(text: str, evaluation: Evaluation, judge: JudgeModel | None) -> Grader | PairGrader:
    seed = evaluation.seed or 0
    if text not in ("judge", "pairwise"):
        from ftjobs.evals.graders import named

        return named(text, judge=judge, seed=seed)
    if judge is None:
        raise ConfigError(
            f"the grader {text!r} asks a model, and no judge is named",
            hint='Say --judge MODEL, or under [evaluation.judge]: model = "MODEL".',
        )
    from ftjobs.evals.judges.loading import read_rubric
    from ftjobs.evals.judges.pairwise import CRITERIA, pairwise
    from ftjobs.evals.judges.pointwise import RUBRIC, pointwise

    table = evaluation.judge
    rubric = None if table is None or table.rubric is None else read_rubric(table.rubric)
    if text == "judge":
        return pointwise(judge, rubric=rubric or RUBRIC, seed=seed)
    return pairwise(judge, rubric=rubric or CRITERIA, seed=seed)


def gate_of(evaluation: Evaluation) -> Gate:
    """What the candidate has to show."""
    return Gate(**evaluation.gate.model_dump())


# --- prompts ----------------------------------------------------------------------------------


def prompts_of(
    evaluation: Evaluation,
) -> tuple[list[Prompt], Mapping[str, Sequence[Prompt]], tuple[Source, ...]]:
    """(prompts that the verdict is about, other sets by name, where all of them came from).

    Raises:
        ConfigError: no prompts are written down, or a file cannot be read.
        DatasetError: a line is wrong.
    """
    if evaluation.prompts is None:
        raise ConfigError("there are no prompts to compare on", hint="Name a prompt file.")
    by = evaluation.cluster_by
    prompts = read_prompts(evaluation.prompts, cluster_by=by)
    sets = {name: read_prompts(path) for name, path in evaluation.sets.items()}
    if by is not None:  # a set beside the first may have no clusters
        sets = {name: clustered(each, by) for name, each in sets.items()}
    sources = [source_of(evaluation.prompts, len(prompts))]
    sources += [source_of(path, len(sets[name]), name) for name, path in evaluation.sets.items()]
    return prompts, sets, tuple(sources)
