"""Submit: check everything that can be checked here, then upload, then create the job once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ftjobs.backends.base import Progress, Trainer, check_supported
from ftjobs.data import Dataset, read
from ftjobs.data.targets import TARGETS
from ftjobs.errors import ConfigError, DatasetError
from ftjobs.jobs.fields import build, suggest
from ftjobs.schema import Hyperparameters, Job, JobSpec

Source = Dataset | Path | str
"""A checked dataset, or the path of one to check."""


def submit(
    backend: Trainer,
    train: Source,
    *,
    validation: Source | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **fields: Any,
) -> Job:
    """Start a job.  `fields` are those of `JobSpec`: model, method, suffix, seed, metadata.

    Nothing is sent before all that can be known here is known to be sound, and `create` is
    called once: a repeat could be a second paid job.

    Args:
        backend: where the job runs.
        train: the training examples.
        validation: examples for `valid_loss`; None for none.
        hyperparameters: fields of `Hyperparameters`.
        progress: called with (bytes sent, bytes in all) of each file in turn.
        fields: the rest of the job.

    Raises:
        ConfigError: an unknown or impossible setting, or a file that cannot be read.
        UnsupportedError: this backend lacks the method, a hyperparameter, or metadata.
        DatasetError: a file has errors, or has too few examples for this backend.
        BackendError: the backend refused the upload or the job.
    """
    spec = _draft(hyperparameters or {}, fields)
    check_supported(spec, backend.capabilities, backend.name)
    least = backend.capabilities.min_examples
    checked = {"training_file": _checked(train, spec, backend, least=least)}
    if validation is not None:
        checked["validation_file"] = _checked(validation, spec, backend)
    files = {name: _upload(backend, file, progress) for name, file in checked.items()}
    return backend.create(spec.model_copy(update=files))


def _draft(hyperparameters: Mapping[str, Any], fields: Mapping[str, Any]) -> JobSpec:
    """The job but for its files, whose ids are known only once they are uploaded."""
    known = Hyperparameters.model_fields
    if unknown := sorted(set(hyperparameters) - set(known)):
        raise ConfigError(f"unknown hyperparameter {unknown[0]!r}", hint=suggest(unknown[0], known))
    given = {name: value for name, value in fields.items() if value is not None}
    chosen = build(Hyperparameters, hyperparameters)
    return build(JobSpec, {**given, "training_file": "to upload", "hyperparameters": chosen})


def _checked(source: Source, spec: JobSpec, backend: Trainer, *, least: int = 1) -> Dataset:
    """`source`, once it is known to hold at least `least` sound examples.

    A `Dataset` is checked again too: by this backend's rules, and as the file is now.
    """
    path = Path(source.path if isinstance(source, Dataset) else source)
    dataset = read(path, target=target_of(backend))
    found = dataset.manifest
    method = "supervised" if found.method == "completion" else found.method
    if method != spec.method:
        raise DatasetError(
            f"{path}: these are {found.method} examples, and the method is {spec.method}",
            hint=f"Choose the method {method}, or another file.",
        )
    if found.compression is not None:
        raise DatasetError(
            f"{path}: a compressed file can be checked, but not uploaded",
            hint="Decompress it: gzip -dk FILE, or zstd -d FILE.",
        )
    if found.rows < least:
        raise DatasetError(
            f"{path}: {found.rows} example(s), but {backend.name} needs at least {least}",
            hint="Add examples: 50 to 100 good ones are a sound start.",
        )
    return dataset


def _upload(backend: Trainer, dataset: Dataset, progress: Progress | None) -> str:
    """The id of a file that is the one which was checked."""
    uploaded = backend.upload(dataset.path, progress=progress)
    dataset.check_unchanged()
    return uploaded.id


def target_of(backend: Trainer) -> str:
    """Whose rules a dataset is checked by: those of the wire for a service of no known name."""
    return backend.name if backend.name in TARGETS else "wire"
