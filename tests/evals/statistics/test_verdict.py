import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.result import Gate
from ftjobs.evals.statistics import decide

BETTER, BY_FIVE = Gate(), Gate(margin=0.05)
NO_WORSE, BY_TWO = Gate(rule="non-inferior"), Gate(rule="non-inferior", margin=0.02)


@pytest.mark.parametrize(
    ("low", "high", "gate", "word"),
    [
        (0.01, 0.2, BETTER, "pass"),
        (-0.2, -0.01, BETTER, "fail"),
        (-0.1, 0.1, BETTER, "inconclusive"),
        (0.0, 0.1, BETTER, "inconclusive"),
        (-0.1, 0.0, BETTER, "inconclusive"),
        (0.0, 0.0, BETTER, "inconclusive"),
        (0.0, 0.0, NO_WORSE, "inconclusive"),
        (0.01, 0.2, BY_FIVE, "inconclusive"),
        (0.06, 0.2, BY_FIVE, "pass"),
        (0.01, 0.04, BY_FIVE, "fail"),
        (-0.01, 0.1, BY_TWO, "pass"),
        (-0.02, 0.1, BY_TWO, "inconclusive"),
        (-0.2, -0.03, BY_TWO, "fail"),
        (0.0, 0.0, BY_TWO, "pass"),
    ],
)
def test_the_interval_decides(low: float, high: float, gate: Gate, word: str) -> None:
    assert decide(low, high, gate) == word


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_wider_interval_never_decides_more(
    low: float, width: float, more: float, margin: float
) -> None:
    for rule in ("better", "non-inferior"):
        gate = Gate(rule=rule, margin=margin)
        wide = decide(low - more, low + width + more, gate)
        assert wide in (decide(low, low + width, gate), "inconclusive")


@pytest.mark.parametrize(("low", "high"), [(math.nan, 1.0), (0.0, math.nan), (0.2, 0.1)])
def test_what_is_no_interval_is_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="no interval goes from"):
        decide(low, high, BETTER)
