"""What the words of `ftjobs compare` stand for: files, models, jobs, backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ftjobs.backends.base import Backend
from ftjobs.backends.opening import open_backend
from ftjobs.cli.app import App
from ftjobs.cli.jobs import job_id
from ftjobs.cli.plan import make_plan
from ftjobs.config import Settings
from ftjobs.errors import ConfigError, JobFailed
from ftjobs.evals import Comparison, Prompt, spec
from ftjobs.evals.arms import GREEDY
from ftjobs.evals.asking import Asker
from ftjobs.jobs.evaluation import ArmTable, Evaluation, GateTable, JudgeTable
from ftjobs.jobs.fields import build
from ftjobs.jobs.jobfile import read_evaluation
from ftjobs.schema import Job, Sampling

__all__ = ["compared", "evaluation_of"]

JOB = ("latest", "ftjob-")
"""How a word begins that names a job and no model."""


def evaluation_of(
    app: App, source: Path, options: Mapping[str, Any], drawn: Sampling
) -> tuple[Evaluation, frozenset[str]]:
    """The comparison that a command line asks for, and the backends that only its file names.

    What the line says wins over the file.

    Raises:
        ConfigError: an option, or a key of the file, cannot be used.
        BackendError: a job cannot be looked up.
    """
    said = {name: value for name in _TAKEN if (value := options.get(name)) not in (None, ())}
    written, job_file = _written(app, source)
    if drawn.seed is not None:
        said["seed"] = drawn.seed
    gate = _gate(written.gate, options)
    evaluation = written.model_copy(
        update={
            **said,
            **_paths(written, source, options),
            "gate": gate,
            **_judge(written.judge, options),
        }
    )
    job = _job(app, options.get("tuned") or evaluation.tuned, job_file)
    if job is not None:
        evaluation = evaluation.model_copy(update={"tuned": _model_of(job)})
    arms = [spec.arm_of_words(text) for text in options["arms"]]
    _require_new(arms, evaluation)
    evaluation = spec.with_arms(evaluation, arms)
    if (steps := options.get("checkpoints")) is not None:
        checkpoints = _checkpoints(app, job or _job_of(app, evaluation.tuned), steps, evaluation)
        evaluation = spec.with_arms(evaluation, checkpoints)
    return evaluation, frozenset(spec.backends_in(written) - _named(options))


def _require_new(arms: Iterable[tuple[str, ArmTable]], evaluation: Evaluation) -> None:
    taken = {"base": evaluation.base, "tuned": evaluation.tuned}
    for name, _ in arms:
        if taken.get(name):
            raise ConfigError(
                f"the arm {name!r} is {taken[name]} already", hint="Give each a name of its own."
            )


def _named(options: Mapping[str, Any]) -> set[str]:
    """The backends that the line itself names."""
    words = [*options["arms"], options.get("judge") or ""]
    return {word.rpartition("@")[2] for word in words if "@" in word}


_TAKEN = ("base", "tuned", "graders", "samples", "cluster_by", "max_cost")


def _written(app: App, source: Path) -> tuple[Evaluation, Path | None]:
    """The comparison of a file, and the file if it is that of a job."""
    if source.suffix.lower() != ".toml":
        return Evaluation(), None
    evaluation = read_evaluation(source)
    app.take_backend(evaluation.backend)
    # From here on the backend is the app's: the one of the file, or the one of this line.
    return evaluation.model_copy(update={"backend": None}), source if _is_job(source) else None


def _is_job(source: Path) -> bool:
    import tomllib

    return "data" in tomllib.loads(source.read_text("utf-8-sig"))


def _paths(written: Evaluation, source: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    sets = {name: Path(path) for name, path in (options.get("sets") or {}).items()}
    found: dict[str, Any] = {"sets": {**written.sets, **sets}}
    return found if source.suffix.lower() == ".toml" else {**found, "prompts": source}


def _gate(written: GateTable, options: Mapping[str, Any]) -> GateTable:
    rule = options.get("gate")
    said = {"rule": rule if rule != "none" else None, "margin": options.get("margin")}
    given = {name: value for name, value in said.items() if value is not None}
    return build(GateTable, {**written.model_dump(), **given})


def _judge(written: JudgeTable | None, options: Mapping[str, Any]) -> dict[str, JudgeTable]:
    """`MODEL`, `MODEL@BACKEND` or `@BACKEND`; the rubric of the file stays."""
    if (text := options.get("judge")) is None:
        return {}
    model, _, backend = text.rpartition("@") if "@" in text else (text, "", "")
    said = build(JudgeTable, {"model": model or None, "backend": backend or None})
    rubric = None if written is None else written.rubric
    return {"judge": said.model_copy(update={"rubric": rubric})}


# --- jobs -------------------------------------------------------------------------------------


def _job(app: App, word: str | None, job_file: Path | None) -> Job | None:
    """The job that a word, or a job's file without one, stands for."""
    if word is not None:
        return app.client.job(job_id(app.client, word)) if word.startswith(JOB) else None
    if job_file is None:
        return None
    plan = make_plan(app, job_file, {}, priced=False)
    if plan.adopt is None:
        raise ConfigError(
            f"{job_file}: no job of this file was found", hint="Start it: ftjobs submit."
        )
    return app.client.job(plan.adopt)


def _model_of(job: Job) -> str:
    if job.fine_tuned_model is None:
        raise JobFailed(
            f"job {job.id} has no tuned model: it is {job.status}",
            job=job,
            hint=f"ftjobs watch {job.id}",
        )
    return job.fine_tuned_model


def _job_of(app: App, model: str | None) -> Job:
    """The job that made a tuned model."""
    found = next(
        (job for job in app.client.jobs() if model and job.fine_tuned_model == model), None
    )
    if found is None:
        raise ConfigError(
            "the candidate's job, whose checkpoints are wanted, was not found",
            hint="Name the job: --tuned JOB.",
        )
    return found


def _checkpoints(
    app: App, job: Job, steps: str, evaluation: Evaluation
) -> Iterator[tuple[str, ArmTable]]:
    own = evaluation.arms.get("tuned", ArmTable())
    kept = [
        c
        for c in app.client.checkpoints(job)
        if c.fine_tuned_model_checkpoint != job.fine_tuned_model
    ]
    wanted = _steps(steps)
    found = [c for c in kept if wanted is None or c.step_number in wanted]
    if wanted is not None and (missing := wanted - {c.step_number for c in found}):
        raise ConfigError(
            f"job {job.id} has no checkpoint of step {min(missing)}",
            hint=f"There are: {', '.join(str(c.step_number) for c in kept) or 'none'}.",
        )
    for checkpoint in found:
        model = checkpoint.fine_tuned_model_checkpoint
        yield f"step-{checkpoint.step_number}", own.model_copy(update={"model": model})


def _steps(text: str) -> set[int] | None:
    """The steps of `10,20`; None for all."""
    if text == "all":
        return None
    try:
        return {int(step) for step in text.split(",")}
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is neither all nor steps such as 10,20", param_hint="--checkpoints"
        ) from None


# --- the run ------------------------------------------------------------------------------------


def compared(
    app: App,
    evaluation: Evaluation,
    untrusted: Collection[str],
    drawn: Sampling,
    ask: Asker,
    *,
    wants_verdict: bool,
    say: Callable[[str], None],
) -> Comparison:
    """Carry the comparison out; see `ftjobs.evals.compare`.

    `untrusted` are the backends that get no key but their own: a file, which may come from others,
    names them.
    """
    prompts, sets, sources = spec.prompts_of(evaluation)
    opened = spec.once(lambda name: _open(app, name, untrusted))
    sampling = build(
        Sampling, GREEDY.model_dump(exclude_unset=True) | drawn.model_dump(exclude_unset=True)
    )
    if not evaluation.graders:
        names = tuple(_default_graders(prompts, evaluation))
        if wants_verdict and not names:  # before anything is spent on answers that nobody can grade
            raise ConfigError(
                "no prompt says which answer is expected",
                hint='Give each an "expected", name a model that judges (--judge MODEL), '
                "or ask for the answers alone: --gate none.",
            )
        evaluation = evaluation.model_copy(update={"graders": names})
    judge = spec.judge_of(evaluation, open=opened)
    return app.client.compare(
        prompts,
        arms=spec.arms_of(evaluation, open=opened, sampling=sampling),
        graders=spec.graders_of(evaluation, judge=judge),
        sets=sets,
        samples=evaluation.samples or 1,
        gate=spec.gate_of(evaluation) if wants_verdict else None,
        seed=evaluation.seed or 0,
        ask=ask,
        sources=sources,
        say=say,
    )


def _open(app: App, name: str | None, untrusted: Collection[str]) -> Backend:
    if name is None or name == app.settings.backend:
        return app.client.backend
    doubted = ("backend",) if name in untrusted else ()
    return open_backend(name, Settings.load(backend=name, untrusted=doubted))


def _default_graders(prompts: list[Prompt], evaluation: Evaluation) -> Iterator[str]:
    """What is expected most often decides."""
    calls = sum(prompt.calls is not None for prompt in prompts)
    texts = sum(prompt.expected is not None for prompt in prompts)
    found = [("tool-calls",)] * bool(calls) + [("exact", "chrf")] * bool(texts)
    for names in found if calls > texts else reversed(found):
        yield from names
    if evaluation.judge is not None:
        yield "pairwise"
