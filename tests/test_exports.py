import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ftjobs

PUBLIC = [
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

HEAVY = ["torch", "transformers", "peft", "openai", "rich", "click"]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_surface_cannot_change_by_accident() -> None:
    assert ftjobs.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_can_be_used(name: str) -> None:
    assert getattr(ftjobs, name) is not None
    assert name in dir(ftjobs)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(str(ftjobs.__file__)).read_text("utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    imported = {a.name for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported | {"__version__"} == set(PUBLIC)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ftjobs.nonsense  # noqa: B018


def test_import_is_light() -> None:
    assert loaded_by("import ftjobs").isdisjoint([*HEAVY, "pydantic", "msgspec"])


def test_the_whole_surface_needs_no_heavy_library() -> None:
    everything = "import ftjobs; [getattr(ftjobs, name) for name in ftjobs.__all__]"
    assert loaded_by(everything).isdisjoint(HEAVY)
