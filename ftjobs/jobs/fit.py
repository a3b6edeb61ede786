"""Whether a job fits the machine that would run it: the backend's forecast, and what it means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ftjobs.backends.base import FULL, Fit, Foretells, Trainer
from ftjobs.data.stats import Statistics, statistics
from ftjobs.errors import ConfigError, TrainingError
from ftjobs.jobs.budget import Planned, counter_of
from ftjobs.jobs.preflight import Note
from ftjobs.schema import JobSpec

QUICK = 4_000_000
"""Bytes of files whose tokens are counted in a second or two."""


def counted(
    backend: Trainer, spec: JobSpec, files: Mapping[str, Planned], *, thorough: bool
) -> dict[str, Statistics]:
    """The statistics of a job's files, by field, where a backend can make something of them.

    Large files are counted only where it is `thorough`.

    Raises:
        ConfigError: a file cannot be read.
    """
    large = sum(file.bytes for file in files.values()) > QUICK
    if not isinstance(backend, Foretells) or (large and not thorough):
        return {}
    counter = counter_of(backend, spec)
    return {field: statistics(file.path, counter) for field, file in files.items()}


def foretold(
    backend: Trainer, spec: JobSpec, found: Mapping[str, Statistics]
) -> tuple[Fit | None, tuple[Note, ...]]:
    """What the backend foretells, and what is to be known about it; None where nobody knows."""
    if not isinstance(backend, Foretells) or "training_file" not in found:
        return None, ()
    try:
        fit = backend.foretell(spec, found["training_file"], found.get("validation_file"))
    except (ConfigError, TrainingError) as error:
        return None, (Note(level="error", text=error.message, hint=error.hint),)
    return fit, tuple(_notes(fit)) if fit else ()


def gigabytes(size: float) -> str:
    """A size for people, in units of 10⁹ bytes."""
    return f"{size / 1e9:,.1f} GB"


def _notes(fit: Fit) -> Iterator[Note]:
    if fit.free_bytes is None or fit.share <= FULL:
        return
    what = f"the job needs about {gigabytes(fit.bytes)} of memory"
    free = f"{gigabytes(fit.free_bytes)} are free on {fit.device}"
    if fit.share <= 1:
        yield Note(level="warning", text=f"{what}, and {free}: it may not fit", hint=_hint(fit))
    else:
        yield Note(level="error", text=f"{what}, and only {free}", hint=_hint(fit))


def _hint(fit: Fit) -> str:
    """What to change, most of all what would do alone."""
    free = fit.total_bytes is not None and fit.bytes <= FULL * fit.total_bytes
    ways = ["ending other programs"] if free else []
    ways += [*fit.advice, "a smaller base model"]
    return f"Each of these would do: {'; '.join(ways)}."
