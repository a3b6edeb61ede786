"""What a job will cost before it starts: tokens × epochs × a dated price that may be corrected."""

from __future__ import annotations

import datetime as dt
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ftjobs.data.stats import Statistics
from ftjobs.data.tokens import family
from ftjobs.errors import ConfigError


def _no_word(value: object) -> object:
    if isinstance(value, bool | str):  # pydantic would take true for 1, and "3" for 3
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic reports only these
    return value


class Price(BaseModel):
    """What training a base model costs, in US dollars for a million tokens.

    `date` is when it was looked up; `source` says where ("third party": a copy of somebody
    else's).  `validation` says whether the service bills the validation file too, once for each
    evaluation, as Together does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    service: Annotated[str, Field(min_length=1)]
    usd_per_million_tokens: Annotated[
        float, BeforeValidator(_no_word), Field(ge=0, le=1_000_000, allow_inf_nan=False)
    ]
    date: Annotated[dt.date, Field(strict=True)]
    source: Annotated[str, Field(min_length=1)]
    note: str = ""
    validation: bool = False


class Cost(BaseModel):
    """What a job is expected to cost.

    `billed_tokens` are all tokens that the service keeps, once per epoch; `exact` says whether
    they were counted or estimated, and `epochs_given` whether the epochs were chosen or follow
    the service's rule.  `usd` is None where the price is not known, and 0 on one's own machine.
    `price` is the one that was used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    tokens: int
    epochs: int
    epochs_given: bool
    billed_tokens: int
    exact: bool
    usd: float | None
    local: bool = False
    price: Price | None = None


def estimate_cost(
    statistics: Statistics,
    model: str,
    *,
    epochs: int | None = None,
    prices: Mapping[str, Price] | None = None,
    local: bool = False,
    validation: Statistics | None = None,
    evaluations: int = 0,
) -> Cost:
    """The cost of training on a file.

    Billed are the tokens that the service keeps of each example × epochs (OpenAI cookbook,
    *Data preparation and analysis for chat model fine-tuning*), and on services that bill it the
    validation file × evaluations (Together: n_epochs × training tokens + n_evals × validation
    tokens).

    Args:
        statistics: those of the training file, made with a counter.
        model: the base model.
        epochs: passes over the file; None follows `auto_epochs`.
        prices: by model; None takes those that ship with ftjobs.
        local: whether the job runs on one's own machine, where tokens cost no money.
        validation: statistics of the validation file, made with a counter.
        evaluations: how often the validation file is evaluated.

    Raises:
        ConfigError: the statistics were made without a counter.
    """
    price = None if local else price_of(model, shipped() if prices is None else prices)
    passes = auto_epochs(statistics.examples) if epochs is None else epochs
    billed = _kept(statistics) * passes
    if validation is not None and price is not None and price.validation:
        billed += _kept(validation) * evaluations
    return Cost(
        model=model,
        tokens=_kept(statistics),
        epochs=passes,
        epochs_given=epochs is not None,
        billed_tokens=billed,
        exact=statistics.exact and not statistics.uncounted,
        usd=0.0 if local else _money(billed, price),
        local=local,
        price=price,
    )


def auto_epochs(examples: int) -> int:
    """The epochs a hosted service chooses, by the cookbook's rule.

    Three; more for few examples, so that there are about 100 in all, at most 25 times each;
    fewer for many, so that there are no more than 25,000.
    """
    target, few, many, most = 3, 100, 25_000, 25
    if 0 < examples * target < few:
        return min(most, few // examples)
    return max(1, many // examples) if examples * target > many else target


def _kept(statistics: Statistics) -> int:
    """Tokens of a file that are left after the cut."""
    if statistics.counter is None:
        raise ConfigError("the statistics have no tokens", hint="Make them with a counter.")
    total = statistics.tokens.total if statistics.tokens else 0
    return max(0, total - statistics.cut_tokens)


def _money(tokens: int, price: Price | None) -> float | None:
    return None if price is None else tokens * price.usd_per_million_tokens / 1_000_000


# --- prices -----------------------------------------------------------------------------------


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """The price of a model, dated or tuned ones included; None if it is not known."""
    base = model.removeprefix("ft:").partition(":")[0]
    return prices.get(model) or prices.get(base) or prices.get(family(model))


def shipped() -> dict[str, Price]:
    """The prices that ship with ftjobs, by model."""
    text = files("ftjobs.data").joinpath("prices.toml").read_text("utf-8")
    return _parsed(text, "prices.toml of ftjobs")


def load_prices(paths: Iterable[str | os.PathLike[str]] = ()) -> dict[str, Price]:
    """Shipped prices, replaced model by model by those of the files, the last one strongest.

    Raises:
        ConfigError: a file cannot be read, or holds something that is no price.
    """
    prices = shipped()
    for path in map(Path, paths):
        try:
            text = path.read_text("utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a UTF-8 text"
            raise ConfigError(f"{path}: {reason}", hint="Give a file of prices.") from None
        prices |= _parsed(text, str(path))
    return prices


def _parsed(text: str, place: str) -> dict[str, Price]:
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # an integer of 5,000 digits is a ValueError too
        raise ConfigError(f"{place}: {error}") from None
    entries = table.pop("price", [])
    if table or not isinstance(entries, list):
        raise ConfigError(f"{place}: holds something else than [[price]] tables", hint=_LOOKS)
    prices: dict[str, Price] = {}
    for number, entry in enumerate(entries, start=1):
        price = _price(entry, f"{place}: price {number}")
        if price.model in prices:
            raise ConfigError(f"{place}: price {number}: {price.model!r} is given twice")
        prices[price.model] = price
    return prices


_LOOKS = (
    'A price looks like this: [[price]] model = "M", service = "S", '
    'usd_per_million_tokens = 3.0, date = 2026-11-22, source = "where it stands"'
)


def _price(entry: Any, place: str) -> Price:
    try:
        return Price.model_validate(entry)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "it"
        raise ConfigError(f"{place}: {name}: {first['msg']}", hint=_LOOKS) from None


def dollars(usd: float) -> str:
    """An amount for people: cents, or two digits of less than a cent."""
    if usd == 0 or usd >= 0.01:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"
