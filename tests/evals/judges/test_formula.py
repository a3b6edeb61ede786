import math
import pickle
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.judges.formula import Formula, NoValue

NUMBERS = {"a": 0.5, "b": 2.0, "style_1": -1.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 0.5),
        ("0.5 * a + 0.5 * b", 1.25),
        ("(a + b) / 2", 1.25),
        ("a - b * 2", -3.5),
        ("-a", -0.5),
        ("+b", 2.0),
        ("2 ^ 3 ^ 2", 512.0),  # from the right, as powers bind
        ("2 * b ^ 2", 8.0),
        ("1 + b ^ 2", 5.0),
        ("-b ^ 2", -4.0),
        ("b ** 2", 4.0),
        ("min(a, b, 1)", 0.5),
        ("max(a, b) - min(b)", 0.0),
        ("abs(style_1) + floor(1.9) + ceil(1.1)", 4.0),
        ("exp(0) + sqrt(4) + log(1)", 3.0),
        ("(100 - abs(a - b)) / 100", 0.985),
        ("  a\n", 0.5),
        ("1e-1 * 1_0", 1.0),
    ],
)
def test_values(text: str, value: float) -> None:
    assert Formula.read(text, NUMBERS).value(NUMBERS) == pytest.approx(value, abs=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "a b",
        "0.5 * a)",
        "a; b",
        "a = 1",
        "a < b",
        "a and b",
        "a if b else 1",
        "a % b",
        "a // b",
        "a @ b",
        "a ^ ^ b",
        "~a",
        "not a",
        "[a]",
        "(a, b)",
        "a.real",
        "a[0]",
        "'a'",
        "f'{a}'",
        "1j",
        "True",
        "None",
        "...",
        "lambda: a",
        "(c := a)",
        "min()",
        "min(*a)",
        "min(a, key=abs)",
        "abs(a, b)",
        "abs()",
        "pow(a, b)",
        "print(a)",
        "__import__('os')",
        "abs.__class__",
        "(abs)(a)(b)",
        "[x for x in a]",
        "a\nb",
        "a # comment\n+ b",
        "\x00",
        "(" * 300 + "a" + ")" * 300,
        "-" * 150 + "a",
        "a + " * 600 + "a",
    ],
)
def test_nothing_else_is_a_formula(text: str) -> None:
    with pytest.raises(ConfigError, match="formula"):
        Formula.read(text, {"a", "b"})


def test_names_that_no_grader_has_are_refused() -> None:
    with pytest.raises(ConfigError, match="no grader c") as found:
        Formula.read("a + c", {"b", "a"})
    assert "Known: a, b." in str(found.value)


def test_the_names_that_it_uses_are_known() -> None:
    assert Formula.read("min(a, 1) + a", NUMBERS).names == {"a"}


@pytest.mark.parametrize(
    "text", ["1 / 0", "a / (b - 2)", "log(0)", "log(-1)", "sqrt(-1)", "exp(1000)", "9^9^9^9",
             "(-1) ^ 0.5", "0 ^ -1", "1e308 * 10", "1e999 - 1e999", "floor(1e999)"],
)  # fmt: skip
def test_what_has_no_value_says_so(text: str) -> None:
    with pytest.raises(NoValue):
        Formula.read(text, NUMBERS).value(NUMBERS)


def test_formulas_travel_between_processes() -> None:
    formula = Formula.read("a + b", NUMBERS)
    assert pickle.loads(pickle.dumps(formula)).value(NUMBERS) == 2.5


LEAVES = st.sampled_from(["a", "b", "2", "0.25"])


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
    many = st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(
        lambda t: f"{t[0]}({t[1]}, {t[2]})"
    )
    one = st.tuples(st.sampled_from(["abs", "floor", "ceil", "-"]), inner).map(
        lambda t: f"{t[0]}({t[1]})"
    )
    return two | many | one


@example("b / a", 5e-324, 1.0)
@example("floor(b / a)", 5e-324, 1.0)
@given(
    st.recursive(LEAVES, larger, max_leaves=12),
    st.floats(-10, 10),
    st.floats(-10, 10),
)
def test_values_are_those_of_python(text: str, a: float, b: float) -> None:
    names = {"a": a, "b": b, "floor": math.floor, "ceil": math.ceil}
    try:
        wanted = float(eval(text, names))
    except (ArithmeticError, ValueError):
        wanted = math.nan
    if not math.isfinite(wanted):  # Python divides 1 by 5e-324 without an error
        with pytest.raises(NoValue):
            Formula.read(text, {"a", "b"}).value({"a": a, "b": b})
        return
    assert Formula.read(text, {"a", "b"}).value({"a": a, "b": b}) == wanted


@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_an_error_of_ours(text: str) -> None:
    with suppress(ConfigError, NoValue):
        assert math.isfinite(Formula.read(text, {"a", "b"}).value({"a": 1.0, "b": 2.0}))


@given(st.text(alphabet="ab0123456789.+-*/^(), minexplog", max_size=30))
def test_what_looks_like_a_formula_is_one_or_an_error_of_ours(text: str) -> None:
    with suppress(ConfigError, NoValue):
        assert math.isfinite(Formula.read(text, {"a", "b"}).value({"a": 1.0, "b": 2.0}))
