"""What differs between the services a file is checked for: data, so that it is easy to correct.

Sources, as of November 2026: the services' own documents.  What only third parties say, or
what is inferred from the wire, is marked with T or I.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ftjobs.data.rules import RULES, Severity
from ftjobs.errors import ConfigError

_MB = 10**6
_GB = 10**9
_OPENAI: Mapping[str, Severity] = {"FT601": "error"}  # T: has failed real jobs
_ALTERNATING: Mapping[str, Severity] = {"FT307": "error", "FT408": "error", "FT409": "error"}
_NOWHERE_SENT: Mapping[str, Severity] = {"FT420": "warning"}
_TRAINED_HERE: Mapping[str, Severity] = {"FT423": "error"}  # our DPO refuses equal outputs


@dataclass(frozen=True, slots=True)
class Target:
    """A service, as far as the checker must know it.

    A file with fewer than `min_examples` examples gets an issue of severity `too_few`: an error
    where the service is known to refuse it, a warning where it is not.  `methods` are those it
    trains with.  `max_examples` and `max_bytes` (the whole file, by whichever way takes the
    largest) bound a file; `image_count`, `image_bytes` and `image_formats` the images of one
    example.  `context_length` is in tokens; None where a limit is not known or depends on the
    model.  `severities` overrides the severities of single rules.  `notes` are for humans.
    """

    name: str
    min_examples: int = 10
    too_few: Severity = "warning"
    hosted: bool = True
    methods: tuple[str, ...] = ("supervised", "dpo", "reinforcement")
    max_examples: int | None = None
    max_reinforcement_examples: int | None = 50_000
    max_bytes: int | None = None
    image_count: int = 10
    image_bytes: int = 10 * _MB
    image_formats: tuple[str, ...] = ("jpeg", "png", "webp")
    context_length: int | None = None
    severities: Mapping[str, Severity] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()

    def severity_of(self, code: str) -> Severity:
        """How much a broken rule weighs here."""
        return self.severities.get(code, RULES[code].severity)

    def limit(self, method: str | None) -> int | None:
        """The most examples that a file of this method may hold; None if no limit is known."""
        limits = [self.max_examples]
        if method == "reinforcement":
            limits.append(self.max_reinforcement_examples)
        return min((limit for limit in limits if limit is not None), default=None)


_CUT = "Examples of more than 65,536 tokens are cut at the end without a word (gpt-4o, gpt-4.1)."

TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        target.name: target
        for target in (
            Target(
                "local",
                hosted=False,
                methods=("supervised", "dpo"),
                max_reinforcement_examples=None,
                image_count=0,
                severities={**_NOWHERE_SENT, **_TRAINED_HERE},
                notes=("The context length is the base model's.",),
            ),
            Target(
                "openai",
                too_few="error",
                max_bytes=8 * _GB,
                context_length=65_536,
                severities=_OPENAI,
                notes=(_CUT, "Files above 512 MB have to be uploaded in parts."),
            ),
            Target(
                "azure",
                too_few="error",
                max_bytes=5 * _GB,  # T
                image_count=64,
                context_length=65_536,
                severities=_OPENAI,
                notes=(_CUT, "Files above 150 MB have to be uploaded in parts."),  # the second: T
            ),
            Target(
                "fireworks",
                min_examples=3,
                too_few="error",
                max_examples=3_000_000,
                notes=("The context length is the base model's.",),
            ),
            Target(
                "nebius",  # its own minimum is not documented
                methods=("supervised", "completion"),
                max_bytes=50 * _GB,
                notes=("The context length is a hyperparameter of the job.",),
            ),
            Target(
                "together",  # likewise
                methods=("supervised", "dpo", "completion"),
                max_bytes=100 * _GB,
                severities=_ALTERNATING,
                notes=("User and assistant have to take turns.",),
            ),
            Target("wire", max_bytes=8 * _GB),  # any other service that speaks the wire: I
        )
    }
)
"""Every target by its name."""

LOCAL = TARGETS["local"]
"""The target that is meant where none is named."""


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
