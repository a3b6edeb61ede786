"""What a run tells of itself: a step's numbers and words, the result file, and how it ended."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ftjobs.backends.local.store import News
from ftjobs.backends.local.training.evaluation import METRICS
from ftjobs.backends.local.training.loop import Run, Step
from ftjobs.schema import Metrics

PREFIXES = ("train", "valid", "full_valid")
"""How the names of metrics begin: measured in the step, after it, and at the end of an epoch."""
COLUMNS = tuple(
    f"{prefix}_{name}" for prefix in PREFIXES for name in ("loss", "mean_token_accuracy")
)


def result_csv(rows: Sequence[Metrics]) -> str:
    """The wire's metrics file, with columns of its own for what else was measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ["step", *COLUMNS, *_others(rows)]
    writer.writerow(columns)
    writer.writerows([getattr(row, column, None) for column in columns] for row in rows)
    return text.getvalue()


def _others(rows: Sequence[Metrics]) -> list[str]:
    """What was measured beside the wire's columns, in the order in which it came."""
    names = (name for row in rows for name in row.model_extra or ())
    return [name for name in dict.fromkeys(names) if name.startswith(PREFIXES)]


def conclusions(run: Run, best: int | None) -> list[News]:
    """What the full validations came to: why the job ended early, and which model it names."""
    history, said = run.history, []
    found = history.best()
    if run.stopped_early and found is not None:
        line = (
            f"Stopped early after step {run.done} of {run.total}: {history.stale} full validations "
            f"in a row were no better than step {found}, with {history.of(found)}"
        )
        said.append(News("stopped-early", line))
    if best is not None:
        line = (
            f"The fine-tuned model is the checkpoint of step {best}: {history.of(best)}, "
            f"the best of {history.count}"
        )
        said.append(News("best", line))
    if history.beats_base is False:
        line = f"No checkpoint validated better than the base model, with {history.of(0)}"
        said.append(News("no-better", line, level="warn"))
    return said


def in_words(step: Step) -> str:
    """A step's event, as the wire words it."""
    said = []
    kinds = ("training", "validation", "full validation")
    for kind, score in zip(kinds, (step.train, step.valid, step.full_valid), strict=True):
        if score:
            numbers = {"loss": score.loss, **score.others}
            said += [f"{kind} {name}={numbers[name]:.2f}" for name in METRICS if name in numbers]
    return f"Step {step.number}/{step.total}: {', '.join(said)}"


def metrics_of(step: Step) -> Metrics:
    """A step's numbers, under the wire's names and the objective's own."""
    values: dict[str, float] = {"step": step.number, "total_steps": step.total}
    scores = zip(PREFIXES, (step.train, step.valid, step.full_valid), strict=True)
    for prefix, score in scores:
        if score:
            known = {"loss": score.loss, "mean_token_accuracy": score.accuracy}
            # What an objective reports itself goes first: a pair that is won is no token.
            for name, value in {**known, **score.others}.items():
                values[f"{prefix}_{name}"] = round(value, 6)
    return Metrics.model_validate(values)
