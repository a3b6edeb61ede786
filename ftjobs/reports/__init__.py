"""Results → text for people.  Pure: nothing here prints, reads or knows a terminal.

    text(result)            a comparison for a terminal
    comparison.html(result) and the other formats of one

Both are loaded when they are first used: a command that shows a table needs no statistics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftjobs.reports import comparison
    from ftjobs.reports.comparison import text

__all__ = ["comparison", "text"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module("ftjobs.reports.comparison")
    return module if name == "comparison" else getattr(module, name)
