"""What an integration needs before its job is taken; nothing heavy is imported."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from contextlib import suppress

from ftjobs.errors import ConfigError
from ftjobs.integrations import Integration

_SERVER = "MLFLOW_TRACKING_URI"
_PACKAGES = {"mlflow": "mlflow-skinny"}
"""Where the smallest package of a library is not called like it."""


def require(integrations: Sequence[Integration]) -> None:
    """Refuse integrations whose library is not here, or that lead nowhere.

    Raises:
        ConfigError: with what to install or to say.
    """
    for kind in sorted({each["type"] for each in integrations}):
        if not _is_here(kind):
            raise ConfigError(
                f"integration {kind} needs its library",
                hint=f"pip install {_PACKAGES.get(kind, kind)}",
            )
    for each in integrations:
        if each["type"] == "mlflow" and not _leads_somewhere(each):
            raise ConfigError(
                f"integration mlflow: neither tracking_uri nor {_SERVER} says where to",
                hint=f"Set {_SERVER}, such as http://127.0.0.1:5000, or a tracking_uri.",
            )


def _is_here(library: str) -> bool:
    with suppress(ValueError):  # what stands in sys.modules as None
        return importlib.util.find_spec(library) is not None
    return False


def _leads_somewhere(integration: Integration) -> bool:
    return bool(integration["mlflow"].get("tracking_uri") or os.environ.get(_SERVER))
