"""Formulas that combine scores: numbers, names, + - * / ^, and eight functions.  Nothing else runs.

formula = Formula.read("0.5 * correct + 0.5 * min(style, 1)", {"correct", "style"})
formula.value({"correct": 1.0, "style": 0.4})       # 0.7

The operators and functions are those of OpenAI's multigraders.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ftjobs.errors import ConfigError

__all__ = ["Formula", "NoValue"]

LONGEST = 2000
"""Characters of a formula."""

DEEPEST = 100
"""How deep a formula nests."""

OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: math.pow,
}
SIGNS: dict[type[ast.AST], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
MANY: dict[str, Callable[..., float]] = {"min": min, "max": max}
ONE: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}
HINT = "It may hold numbers, the graders' names, + - * / ^, ( ), " + ", ".join((*MANY, *ONE)) + "."


class NoValue(ArithmeticError):
    """A formula has no finite value for these numbers, such as 1 / 0."""


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula that was checked; see `Formula.read`.

    Attributes:
        text: as it was written.
        names: the variables that it uses.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    @classmethod
    def read(cls, text: str, variables: Collection[str]) -> Formula:
        """The formula, which may use these variables.

        Raises:
            ConfigError: it is too long, cannot be read, or holds something else.
        """
        if len(text) > LONGEST:
            raise ConfigError(f"a formula of {len(text):,} characters: {LONGEST:,} at most")
        try:
            # ^ is the power, and binds as tightly as Python's **, unlike Python's own ^.
            tree = ast.parse(text.strip().replace("^", "**"), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConfigError(f"the formula {text!r} cannot be read", hint=HINT) from None
        names: set[str] = set()
        _check(tree, text, frozenset(variables), names, DEEPEST)
        return cls(text, frozenset(names), tree)

    def value(self, numbers: Mapping[str, float]) -> float:
        """Its value, with `log` to the base e.

        Raises:
            NoValue: it is not finite, or undefined.
        """
        try:
            value = float(_value(self._tree, numbers))
        except (ArithmeticError, ValueError) as error:
            raise NoValue(f"{self.text}: {error}") from None
        if not math.isfinite(value):
            raise NoValue(f"{self.text}: not finite")
        return value


def _check(
    node: ast.expr, text: str, variables: frozenset[str], names: set[str], depth: int
) -> None:
    """Allow what is known and nothing else; collect the names that are used."""
    if depth == 0:
        raise ConfigError(f"the formula {text!r} is nested too deeply")
    for part in _parts(node, text):
        _check(part, text, variables, names, depth - 1)
    if isinstance(node, ast.Name):
        if node.id not in variables:
            known = ", ".join(sorted(variables))
            raise ConfigError(f"the formula {text!r}: no grader {node.id}", hint=f"Known: {known}.")
        names.add(node.id)


def _parts(node: ast.expr, text: str) -> list[ast.expr]:
    match node:
        case ast.Constant(value=value) if type(value) in (int, float):
            return []
        case ast.Name():
            return []
        case ast.UnaryOp(op=op, operand=operand) if type(op) in SIGNS:
            return [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return [left, right]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if _fits(name, args):
            return args
    raise ConfigError(
        f"the formula {text!r} holds what is not allowed at character {node.col_offset + 1}",
        hint=HINT,
    )


def _fits(name: str, args: list[ast.expr]) -> bool:
    return (name in ONE and len(args) == 1) or (name in MANY and len(args) > 0)


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return numbers[name]
        case ast.UnaryOp(op=op, operand=operand):
            return SIGNS[type(op)](_value(operand, numbers))
        case ast.BinOp(left=left, op=op, right=right):
            return OPERATORS[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=args):
            values = [_value(each, numbers) for each in args]
            return MANY[name](values) if name in MANY else ONE[name](*values)
    raise AssertionError(f"{type(node)} was not refused")
