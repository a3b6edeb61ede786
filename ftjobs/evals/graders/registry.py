r"""Graders by name: `named("exact")`, `named("regex:^\d+$")`, `named("json-schema:answer.json")`.

A package adds graders of its own under the entry point group `ftjobs.graders`::

    [project.entry-points."ftjobs.graders"]
    politeness = "my_package:politeness"

The object is a function that returns the grader; `politeness:strict` calls it with "strict",
`politeness` with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from ftjobs.errors import ConfigError, FtjobsError
from ftjobs.evals.graders.base import Grader, PairGrader
from ftjobs.evals.graders.calls import tool_calls
from ftjobs.evals.graders.labels import labels
from ftjobs.evals.graders.likelihood import perplexity, token_accuracy
from ftjobs.evals.graders.overlap import bleu, chrf, fuzzy, gleu, rouge_l, rouge_n
from ftjobs.evals.graders.structure import json_schema, read_schema
from ftjobs.evals.graders.text import contains, exact, normalised, regex

if TYPE_CHECKING:
    from ftjobs.evals.judges.base import JudgeModel

__all__ = ["GROUP", "known", "named"]

GROUP = "ftjobs.graders"
"""The entry point group of plug-ins."""

_PLAIN: Mapping[str, Callable[[], Grader]] = {
    "exact": exact,
    "normalised": normalised,
    "contains": contains,
    "chrf": chrf,
    "bleu": bleu,
    "gleu": gleu,
    "rouge-l": rouge_l,
    **{f"rouge-{n}": lambda n=n: rouge_n(n) for n in range(1, 6)},  # type: ignore[misc]
    "fuzzy": fuzzy,
    "tool-calls": tool_calls,
    "labels": labels,
    "perplexity": perplexity,
    "token-accuracy": token_accuracy,
}
_WITH_ARGUMENT: Mapping[str, tuple[str, Callable[[str], Grader]]] = {
    "bleu": ("TOKENIZER", bleu),
    "regex": ("PATTERN", lambda pattern: regex(pattern, name=f"regex:{pattern}")),
    "json-schema": (
        "FILE",
        lambda path: json_schema(read_schema(path), name=f"json-schema:{path}"),
    ),
}
_JUDGES = {"judge": "[FILE]", "pairwise": "[FILE]", "openai": "FILE"}
"""Loaded by `ftjobs.evals.judges.load(name, argument, judge, seed=…)`, only where asked for."""


def named(text: str, *, judge: JudgeModel | None = None, seed: int = 0) -> Grader | PairGrader:
    """The grader of a name, with an argument behind a colon where it takes one; see `known`.

    Args:
        text: such as "exact" or "regex:^yes".  What is built in cannot be replaced by a plug-in.
        judge: the model that graders ask which ask one.
        seed: of the seats and codes of judges.

    Raises:
        ConfigError: there is no such grader, its argument is missing, not wanted or wrong, or it
            needs something that is not installed.
    """
    name, colon, argument = text.partition(":")
    if name in _JUDGES:
        loaded: Grader | PairGrader = import_module("ftjobs.evals.judges").load(
            name, argument, judge, seed=seed
        )
        return loaded
    if name in _PLAIN or name in _WITH_ARGUMENT:
        return _built_in(name, argument, has_argument=bool(colon))
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        raise ConfigError(f"there is no grader {name!r}", hint=f"There are: {', '.join(known())}.")
    if len(found) > 1:
        homes = " and ".join(sorted(_home(point) for point in found))
        raise ConfigError(
            f"{homes} both have a grader {name!r}", hint="Uninstall one of the packages."
        )
    return _plugged_in(found[0], argument if colon else None)


def known() -> list[str]:
    """Every name, with what goes behind the colon: "regex:PATTERN", "bleu[:TOKENIZER]", …"""
    built_in = [*_PLAIN, *(name for name in _WITH_ARGUMENT if name not in _PLAIN)]
    plugged_in = {point.name for point in entry_points(group=GROUP)} - {*built_in, *_JUDGES}
    return [*map(_usage, built_in), *map(_usage, _JUDGES), *sorted(plugged_in)]


def _usage(name: str) -> str:
    if name in _JUDGES:
        argument = _JUDGES[name]
        return f"{name}[:{argument[1:-1]}]" if argument.startswith("[") else f"{name}:{argument}"
    if name not in _WITH_ARGUMENT:
        return name
    argument = _WITH_ARGUMENT[name][0]
    return f"{name}[:{argument}]" if name in _PLAIN else f"{name}:{argument}"


def _built_in(name: str, argument: str, *, has_argument: bool) -> Grader:
    if has_argument and argument and name in _WITH_ARGUMENT:
        return _WITH_ARGUMENT[name][1](argument)
    if not has_argument and name in _PLAIN:
        return _PLAIN[name]()
    wrong = "takes nothing behind its name" if name not in _WITH_ARGUMENT else "lacks its argument"
    raise ConfigError(f"the grader {name!r} {wrong}", hint=f"Write {_usage(name)}.")


# --- plug-ins ---------------------------------------------------------------------------------


def _plugged_in(point: EntryPoint, argument: str | None) -> Grader | PairGrader:
    where = f"the grader {point.name!r} of the package {_home(point)}"
    try:
        make = point.load()
        grader = make() if argument is None else make(argument)
    except FtjobsError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{where} cannot be loaded: {type(error).__name__}: {error}",
            hint="Repair, update or uninstall the package.",
        ) from error
    if not isinstance(grader, Grader | PairGrader):
        raise ConfigError(
            f"{where} is no grader but a {type(grader).__name__}",
            hint=f"{point.value} must be a function that returns a Grader or a PairGrader.",
        )
    return grader


def _home(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
