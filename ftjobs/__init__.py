"""ftjobs: one typed client for fine-tuning jobs, hosted or on your own machine.

::

    import ftjobs

    train = ftjobs.read("train.jsonl")              # every mistake in one DatasetError, or none
    client = ftjobs.connect("local")                # or "openai", a profile, a base URL
    job = client.submit(train, model="smollm2-135m", n_epochs=3)
    for event in client.watch(job):                 # each once, oldest first, until the job ends
        print(event.created_at, event.message)
    job = client.wait(job)                          # JobFailed or JobCancelled unless it succeeded

Names are loaded when they are first used (PEP 562): `import ftjobs` costs milliseconds and pulls
in none of torch, transformers, openai, click or rich.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftjobs import config, errors, reports, schema
    from ftjobs.client import Client, connect
    from ftjobs.config import Settings
    from ftjobs.data import Dataset, Report, check, read
    from ftjobs.errors import (
        AuthError,
        BackendError,
        ConfigError,
        CostError,
        DatasetError,
        DeadlineError,
        ExitCode,
        FtjobsError,
        InvalidRequestError,
        JobCancelled,
        JobEndedError,
        JobFailed,
        ModelError,
        NotFoundError,
        QuotaError,
        RateLimitError,
        ServiceError,
        StalePlanError,
        StoreError,
        StoreLockedError,
        UnreachableError,
        UnsupportedError,
        WatchTimeout,
    )
    from ftjobs.evals import Comparison, Prompt, graders, read_prompts
    from ftjobs.schema import (
        Capabilities,
        ChatMessage,
        Checkpoint,
        Completion,
        Delta,
        Event,
        Example,
        File,
        Hyperparameters,
        Issue,
        Job,
        JobError,
        JobSpec,
        Metrics,
        Model,
        Preference,
        Sampling,
    )

    __version__: str

__all__ = [
    "AuthError",
    "BackendError",
    "Capabilities",
    "ChatMessage",
    "Checkpoint",
    "Client",
    "Comparison",
    "Completion",
    "ConfigError",
    "CostError",
    "Dataset",
    "DatasetError",
    "DeadlineError",
    "Delta",
    "Event",
    "Example",
    "ExitCode",
    "File",
    "FtjobsError",
    "Hyperparameters",
    "InvalidRequestError",
    "Issue",
    "Job",
    "JobCancelled",
    "JobEndedError",
    "JobError",
    "JobFailed",
    "JobSpec",
    "Metrics",
    "Model",
    "ModelError",
    "NotFoundError",
    "Preference",
    "Prompt",
    "QuotaError",
    "RateLimitError",
    "Report",
    "Sampling",
    "ServiceError",
    "Settings",
    "StalePlanError",
    "StoreError",
    "StoreLockedError",
    "UnreachableError",
    "UnsupportedError",
    "WatchTimeout",
    "__version__",
    "check",
    "config",
    "connect",
    "errors",
    "graders",
    "read",
    "read_prompts",
    "reports",
    "schema",
]

_MODULES = frozenset({"config", "errors", "reports", "schema"})
_HOMES = ("errors", "config", "schema", "data", "evals", "client")
"""Where the other names live, cheapest to import first."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'ftjobs' has no attribute {name!r}")
    globals()[name] = value = _load(name)
    return value


def _load(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ftjobs")
    if name in _MODULES:
        return import_module(f"ftjobs.{name}")
    homes = (import_module(f"ftjobs.{home}") for home in _HOMES)
    return next(getattr(home, name) for home in homes if hasattr(home, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
