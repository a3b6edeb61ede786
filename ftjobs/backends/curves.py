"""The numbers of a training run, as services name them → `Metrics`, a line of text, the CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping

from ftjobs.backends.nouns import Raw
from ftjobs.schema import Metrics

__all__ = ["metrics_csv", "metrics_of", "step_text"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "train/global_step", "train/step"),
    "total_steps": ("total_steps", "train/total_steps"),
    "train_loss": ("train_loss", "train/loss", "loss"),
    "train_mean_token_accuracy": ("train_mean_token_accuracy", "train/accuracy"),
    "valid_loss": ("valid_loss", "eval/loss", "eval_loss", "validation_loss"),
    "valid_mean_token_accuracy": ("valid_mean_token_accuracy", "eval/accuracy"),
    "full_valid_loss": ("full_valid_loss",),
    "full_valid_mean_token_accuracy": ("full_valid_mean_token_accuracy",),
}
"""A field of `Metrics` → the names that services give it, the first one that is there."""

COLUMNS = tuple(name for name in ALIASES if name != "total_steps")


def metrics_of(row: Raw, *, total_steps: int | None = None) -> Metrics:
    """The numbers of one step; what the service did not measure is None."""
    found = {
        field: next((row[name] for name in names if row.get(name) is not None), None)
        for field, names in ALIASES.items()
    }
    if found["total_steps"] is None:
        found["total_steps"] = total_steps
    return Metrics.model_validate(found)


def step_text(metrics: Metrics) -> str:
    """One line, as the OpenAI wire words it: `Step 7/14: training loss=0.50`."""
    place = "" if metrics.step is None else f"Step {metrics.step}"
    place += f"/{metrics.total_steps}" if metrics.total_steps else ""
    losses = {"training": metrics.train_loss, "validation": metrics.valid_loss}
    said = [f"{what} loss={loss:.2f}" for what, loss in losses.items() if loss is not None]
    return f"{place or 'Metrics'}: {', '.join(said) or 'measured'}"


def metrics_csv(steps: Iterable[Metrics]) -> bytes:
    """The result file of the OpenAI wire: a header, then a row a step."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(one, column) for column in COLUMNS] for one in steps)
    return sheet.getvalue().encode()
