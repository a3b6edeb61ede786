"""Costs and prices: the arithmetic, the order of files, and files that are wrong."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.data.cost import (
    Price,
    auto_epochs,
    dollars,
    estimate_cost,
    load_prices,
    price_of,
    shipped,
)
from ftjobs.data.stats import Statistics, Tally
from ftjobs.errors import ConfigError

GOOD = """
[[price]]
model = "m"
service = "S"
usd_per_million_tokens = 2
date = 2026-01-31
source = "a page"
"""


def counted(*tokens: int, cut: int = 0, exact: bool = True) -> Statistics:
    tally = Tally()
    for number in tokens:
        tally.add(number)
    return Statistics(
        rows=len(tokens),
        examples=len(tokens),
        messages={},
        counter="c",
        exact=exact,
        tokens=tally.histogram(),
        cut_tokens=cut,
    )


def a_price(**more: object) -> Price:
    fields = {"model": "m", "service": "S", "usd_per_million_tokens": 2.0, "source": "s"}
    return Price.model_validate({**fields, "date": dt.date(2026, 1, 31), **more})


# --- cost -------------------------------------------------------------------------------------


def test_a_cost_is_tokens_times_epochs_times_price() -> None:
    cost = estimate_cost(counted(400, 600), "m", epochs=3, prices={"m": a_price()})
    assert (cost.tokens, cost.billed_tokens, cost.epochs_given) == (1000, 3000, True)
    assert cost.usd == pytest.approx(0.006)
    assert cost.price == a_price()


def test_what_is_cut_is_not_billed() -> None:
    assert estimate_cost(counted(400, 600, cut=100), "m", epochs=2).billed_tokens == 1800


def test_an_unknown_price_stays_unknown() -> None:
    cost = estimate_cost(counted(400), "nobody-knows", epochs=1)
    assert (cost.usd, cost.price, cost.billed_tokens) == (None, None, 400)


def test_a_price_of_nothing_is_nothing() -> None:
    prices = {"m": a_price(usd_per_million_tokens=0)}
    assert estimate_cost(counted(400), "m", epochs=1, prices=prices).usd == 0


def test_ones_own_machine_costs_no_money_but_counts() -> None:
    cost = estimate_cost(counted(400), "gpt-4o", epochs=2, local=True)
    assert (cost.usd, cost.billed_tokens, cost.price) == (0, 800, None)


def test_evaluations_are_billed_where_the_service_bills_them() -> None:
    files = {"validation": counted(50), "evaluations": 4, "epochs": 3}
    billing, other = {"m": a_price(validation=True)}, {"m": a_price()}
    assert estimate_cost(counted(100), "m", prices=billing, **files).billed_tokens == 500  # type: ignore[arg-type]
    assert estimate_cost(counted(100), "m", prices=other, **files).billed_tokens == 300  # type: ignore[arg-type]


def test_an_estimate_stays_an_estimate() -> None:
    assert estimate_cost(counted(1), "m").exact
    assert not estimate_cost(counted(1, exact=False), "m").exact
    partly = counted(1).model_copy(update={"uncounted": 1})
    assert not estimate_cost(partly, "m").exact


def test_statistics_without_tokens_have_no_cost() -> None:
    with pytest.raises(ConfigError, match="no tokens"):
        estimate_cost(Statistics(rows=1, examples=1, messages={}), "m")


@pytest.mark.parametrize(
    ("examples", "epochs"),
    [
        (0, 3),
        (1, 25),
        (4, 25),
        (5, 20),
        (10, 10),
        (33, 3),
        (34, 3),
        (1000, 3),
        (8333, 3),
        (8334, 2),
        (12_500, 2),
        (12_501, 1),
        (25_001, 1),
        (10**7, 1),
    ],
)
def test_epochs_follow_the_cookbook(examples: int, epochs: int) -> None:
    assert auto_epochs(examples) == epochs


@given(st.integers(0, 10**9))
def test_there_is_always_an_epoch(examples: int) -> None:
    assert 1 <= auto_epochs(examples) <= 25


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0, "$0.00"),
        (0.01, "$0.01"),
        (1234.5, "$1,234.50"),
        (0.0065, "$0.0065"),
        (0.00012345, "$0.00012"),
        (0.009999, "$0.0100"),
    ],
)
def test_amounts_are_shown_with_what_matters(usd: float, shown: str) -> None:
    assert dollars(usd) == shown


# --- prices -----------------------------------------------------------------------------------


def test_shipped_prices_are_dated_and_say_where_they_are_from() -> None:
    for model, price in shipped().items():
        assert price.model == model
        assert price.date > dt.date(2026, 1, 1)
        assert price.source == "third party"  # until somebody reads them from the service
        assert price.note
        assert price.usd_per_million_tokens > 0


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:o:s:id"]
)
def test_dated_and_tuned_models_cost_what_the_model_does(model: str) -> None:
    assert price_of(model, shipped()) == shipped()["gpt-4o-mini"]


def test_a_dated_price_goes_first() -> None:
    dated = a_price(model="m-2026-01-01")
    prices = {"m": a_price(), "m-2026-01-01": dated}
    assert price_of("m-2026-01-01", prices) == dated
    assert price_of("ft:m-2026-01-01:o::i", prices) == dated
    assert price_of("m-2026-02-02", prices) == a_price()


def test_later_files_go_before_earlier_ones(tmp_path: Path) -> None:
    one, two = tmp_path / "1.toml", tmp_path / "2.toml"
    one.write_text(GOOD + GOOD.replace('"m"', '"n"'))
    two.write_text(GOOD.replace("= 2\n", "= 5.5\n"))
    prices = load_prices([one, two])
    assert (prices["m"].usd_per_million_tokens, prices["n"].usd_per_million_tokens) == (5.5, 2)
    assert prices["gpt-4o"] == shipped()["gpt-4o"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("price = [", "Invalid"),
        (f"price = {'9' * 5000}", "integer string conversion"),
        ("[prices]", "something else"),
        ("price = 3", "something else"),
        ("price = [3]", "price 1: it"),
        (GOOD + GOOD, "price 2: 'm' is given twice"),
        (GOOD.replace('model = "m"', ""), "price 1: model: Field required"),
        (GOOD.replace('"m"', '""'), "price 1: model"),
        (GOOD.replace('source = "a page"', ""), "price 1: source"),
        (GOOD.replace("= 2\n", "= -1\n"), "usd_per_million_tokens"),
        (GOOD.replace("= 2\n", "= nan\n"), "usd_per_million_tokens"),
        (GOOD.replace("= 2\n", "= 1e308\n"), "usd_per_million_tokens"),
        (GOOD.replace("= 2\n", "= inf\n"), "usd_per_million_tokens"),
        (GOOD.replace("= 2\n", '= "2"\n'), "usd_per_million_tokens"),
        (GOOD.replace("= 2\n", "= true\n"), "usd_per_million_tokens"),
        (GOOD.replace("2026-01-31", '"2026-01-31"'), "date"),
        (GOOD.replace("2026-01-31", "1769817600"), "date"),
        (GOOD + "colour = 3", "colour"),
    ],
)
def test_a_malformed_file_says_what_and_where(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_prices([path])
    assert str(path) in caught.value.message
    assert says in caught.value.message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: No such file"):
        load_prices([tmp_path / "gone.toml"])
    (tmp_path / "b.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"b\.toml: not a UTF-8 text"):
        load_prices([tmp_path / "b.toml"])
