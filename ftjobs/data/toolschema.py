"""The parameters of tools: JSON Schemas, and whether the arguments of a call keep to them.

Schemas come from files that nobody has vetted.  So nothing is ever fetched, patterns stop
backtracking, and a schema whose references multiply is not evaluated but reported as too complex.
A schema is compiled once and kept; the functions here may be called from several threads.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ftjobs.data.scan import is_plain, shown

if TYPE_CHECKING:
    import jsonschema_rs

MAX_SCHEMA_BYTES = 2**17
"""The longest schema that is compiled, as JSON."""

MAX_MISTAKES = 10
"""Mistakes told of the arguments of one call; more only repeat the same one."""

_MAX_STEPS = 50_000  # of a schema over one call's arguments: a tenth of a second
_MAX_WORK = 2**31  # bytes of schema times bytes of arguments: a few seconds
_BACKTRACKS = 10_000
_PATTERN_BYTES = 2**20
_KEPT = 256  # compiled schemas: some 30 MB if all of them are as long as they may be
_TOO_DEEP = (ValueError, RecursionError)  # what the libraries say of endless nesting
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_PER_KEY = ("properties",)
_PER_ITEM = (
    "items",
    "additionalItems",
    "additionalProperties",
    "contains",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_NEVER_EVALUATED = ("$defs", "definitions", "const", "default", "enum", "examples")


class Fault(NamedTuple):
    """What is wrong with a schema, or with arguments: a code of `RULES` and a message."""

    code: str
    message: str


class Schema:
    """The schema of a tool's parameters.  `fault` is FT420 or FT426 where it cannot be used."""

    __slots__ = ("_parameters", "_refers", "_size", "_validator", "fault")

    def __init__(self, source: bytes) -> None:
        self.fault: Fault | None = None
        self._size = len(source)
        self._parameters: dict[str, Any] = {}
        self._refers = False
        self._validator: jsonschema_rs.Validator | None = None
        if len(source) > MAX_SCHEMA_BYTES:
            self.fault = _too_complex()
            return
        self._parameters = msgspec.json.decode(source)
        self._refers = _refers(self._parameters)
        self.fault = _not_an_object(self._parameters) or self._compile()

    def _compile(self) -> Fault | None:
        import jsonschema_rs  # 30 ms: only files with tools pay for it

        try:
            self._validator = jsonschema_rs.validator_for(
                self._parameters,
                offline=True,
                validate_formats=False,
                pattern_options=jsonschema_rs.FancyRegexOptions(
                    backtrack_limit=_BACKTRACKS,
                    size_limit=_PATTERN_BYTES,
                    dfa_size_limit=_PATTERN_BYTES,
                ),
            )
        except jsonschema_rs.ValidationError as error:
            place = _path("parameters", error.instance_path)
            return Fault("FT420", f"the schema is broken: {place} {_broken(error)}")
        except _TOO_DEEP:
            return _too_complex()
        return None

    def mistakes(self, arguments: Mapping[str, Any]) -> tuple[Fault, ...]:
        """Where the arguments break the schema (FT419), or FT426; no value of theirs is told."""
        if self._validator is None:
            return ()  # its fault is reported where the tool is declared
        try:
            if not self._is_too_much(arguments):
                errors = self._validator.iter_errors(arguments)
                return tuple(map(_mistake, itertools.islice(errors, MAX_MISTAKES)))
        except _TOO_DEEP:
            pass
        return (_too_complex(),)

    def accepts(self, arguments: Mapping[str, Any]) -> bool:
        """Whether `mistakes` finds nothing, in a tenth of its time where that is so."""
        if self._validator is None:
            return True
        try:
            return not self._is_too_much(arguments) and self._validator.is_valid(arguments)
        except _TOO_DEEP:
            return False

    def _is_too_much(self, arguments: Mapping[str, Any]) -> bool:
        if self._size * _size(arguments) > _MAX_WORK:
            return True
        return self._refers and _steps(self._parameters, arguments) > _MAX_STEPS


def schema_of(parameters: Mapping[str, Any]) -> Schema:
    """The schema of these parameters, compiled or as it was compiled before."""
    try:
        return _kept(msgspec.json.encode(parameters))
    except _TOO_DEEP:  # or half a surrogate pair, which is reported as such
        return Schema(b" " * (MAX_SCHEMA_BYTES + 1))


@functools.lru_cache(maxsize=_KEPT)
def _kept(source: bytes) -> Schema:
    return Schema(source)


def call_faults(
    name: str, arguments: Mapping[str, Any] | None, declared: Mapping[str, Schema | None]
) -> tuple[Fault, ...]:
    """FT418 and FT419 of a call, given the tools of its row by name.

    None stands for arguments that are no JSON object, and for a tool without parameters.
    """
    if name not in declared:
        return (Fault("FT418", f"no tool of this row is called {shown(name)}"),)
    schema = declared[name]
    return () if schema is None or arguments is None else schema.mistakes(arguments)


# --- words ------------------------------------------------------------------------------------


def _too_complex() -> Fault:
    return Fault("FT426", "the schema is too complex to hold the arguments against it")


def _not_an_object(parameters: Mapping[str, Any]) -> Fault | None:
    kinds = parameters.get("type", "object")
    known = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(known, list) or "object" in known:
        return None
    return Fault("FT420", 'the schema is broken: parameters must have the type "object"')


def _broken(error: jsonschema_rs.ValidationError) -> str:
    import jsonschema_rs

    kind = error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Referencing):
        return "refers to a schema that the row does not hold"
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Format):
        return f"is no {kind.format} that can be used"
    return f"is not allowed here ({_reason(error)})"


def _mistake(error: jsonschema_rs.ValidationError) -> Fault:
    import jsonschema_rs

    kinds = jsonschema_rs.ValidationErrorKind
    if isinstance(error.kind, kinds.BacktrackLimitExceeded | kinds.RegexEngineFailure):
        return _too_complex()
    return Fault("FT419", f"{_path('arguments', error.instance_path)}: {_reason(error)}")


def _reason(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong, in words of the schema."""
    import jsonschema_rs

    kind, kinds = error.kind, jsonschema_rs.ValidationErrorKind
    if isinstance(kind, kinds.Type):
        return f"the schema wants {' or '.join(kind.types)}"
    if isinstance(kind, kinds.Required):
        return f"the required key {shown(kind.property)} is missing"
    if isinstance(kind, kinds.AdditionalProperties | kinds.UnevaluatedProperties):
        return f"the schema has no key {' and no key '.join(map(shown, kind.unexpected[:3]))}"
    if isinstance(kind, kinds.Enum):
        return "none of the values that the schema lists"
    return f'breaks "{shown_keyword(kind.name)}" of the schema'


def shown_keyword(name: str) -> str:
    """A keyword of JSON Schema, as a message may show it."""
    return name if is_plain(name) or name.startswith("$") else "a keyword"


def _path(root: str, path: Sequence[str | int]) -> str:
    """The place, of the nearest parent whose keys are all plain words."""
    return "".join([root, *(f"/{token}" for token in itertools.takewhile(is_plain, path))])


# --- what evaluating would cost ---------------------------------------------------------------


def _size(arguments: Mapping[str, Any]) -> int:
    return len(msgspec.json.encode(arguments))


def _refers(schema: object) -> bool:
    """Whether a schema holds a reference anywhere."""
    if isinstance(schema, dict):
        return any(key in _REFERENCES or _refers(child) for key, child in schema.items())
    return isinstance(schema, list) and any(map(_refers, schema))


def _steps(schema: Mapping[str, Any], arguments: object) -> int:
    """How many values and parts of the schema meet, each reference followed; never more than
    one above `_MAX_STEPS`, so that it ends where references do not.
    """
    steps = 0
    waiting: list[tuple[object, object]] = [(schema, arguments)]
    while waiting and steps <= _MAX_STEPS:
        part, value = waiting.pop()
        steps += 1
        waiting += itertools.islice(_meets(part, value, schema), _MAX_STEPS)
    return steps


def _meets(part: object, value: object, root: Mapping[str, Any]) -> Iterator[tuple[object, object]]:
    if isinstance(part, list):
        yield from ((child, value) for child in part)
    if not isinstance(part, dict):
        return
    for key, child in part.items():
        if key in _REFERENCES:
            yield _target(child, root), value
        elif key in _PER_KEY and isinstance(child, dict) and isinstance(value, dict):
            yield from ((child[name], value[name]) for name in child.keys() & value.keys())
        elif key in _PER_ITEM:
            yield from ((child, inner) for inner in _inside(value))
        elif key not in _NEVER_EVALUATED:
            yield child, value


def _inside(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _target(reference: object, root: Mapping[str, Any]) -> object:
    """What a reference names; the whole schema where that is not told by a simple path."""
    part: Any = root
    if isinstance(reference, str) and reference.startswith("#/"):
        for token in reference[2:].split("/"):
            key = token.replace("~1", "/").replace("~0", "~")
            inside = part if isinstance(part, dict) else dict(_numbered(part))
            if key not in inside:
                return root
            part = inside[key]
    return part


def _numbered(part: object) -> Iterator[tuple[str, object]]:
    if isinstance(part, list):
        yield from ((str(index), child) for index, child in enumerate(part))
