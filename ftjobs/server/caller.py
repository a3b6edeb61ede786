"""Who asks, and what they may do.

Without any key, the server answers this machine alone, and everything is allowed.  As soon as there
is one, every request needs one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["read", "train", "admin"]
"""read: look, and ask models; train: also upload, start, stop and delete; admin: also see every
project's, and the metrics."""

SCOPES: tuple[Scope, ...] = get_args(Scope)
_MAY: dict[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "train": frozenset({"read", "train"}),
    "admin": frozenset(SCOPES),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sent a request.

    `key_id` is the key's public name, "" where none is needed.  New files and jobs are of
    `project`.
    """

    project: str
    scope: Scope
    key_id: str = ""

    @property
    def sees_all(self) -> bool:
        """Whether other projects' files and jobs are theirs to see too."""
        return self.scope == "admin"

    def may(self, scope: Scope) -> bool:
        """Whether their key has this scope."""
        return scope in _MAY[self.scope]


THIS_MACHINE = Caller(project="", scope="admin")
"""Whoever is on this machine, where no key was made."""
