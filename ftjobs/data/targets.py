"""What differs between the services a file is checked for: data, so that it is easy to correct."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ftjobs.data.rules import Severity
from ftjobs.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Target:
    """A service, as far as the checker must know it.

    A file with fewer than `min_examples` examples gets an issue of severity `too_few`: an error
    where the service is known to refuse it, a warning where it is not.
    """

    name: str
    min_examples: int = 10
    too_few: Severity = "warning"


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target("local"),
            Target("openai", too_few="error"),
            Target("azure", too_few="error"),
            Target("fireworks", min_examples=3, too_few="error"),
            Target("nebius"),  # speaks the wire; its own minimum is not documented
            Target("together"),  # likewise
            Target("wire"),  # any other service that speaks the wire
        )
    }
)
"""Every target by its name."""


def target_named(name: str) -> Target:
    """The target of that name.

    Raises:
        ConfigError: there is none.
    """
    try:
        return TARGETS[name]
    except KeyError:
        raise ConfigError(
            f"unknown target {name!r}", hint=f"Known targets: {', '.join(TARGETS)}."
        ) from None
