"""The cost gate: its bound holds, and what nobody knows does not pass."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.data.cost import Cost, Price, estimate_cost, load_prices
from ftjobs.data.stats import statistics
from ftjobs.data.tokens import EstimatedCounter, counter_for
from ftjobs.errors import ConfigError, CostError, ServiceError
from ftjobs.jobs.budget import Estimate, check_budget, counter_of, estimate
from ftjobs.jobs.plan import PlannedFile
from ftjobs.schema import Hyperparameters, JobSpec

OPENAI = FakeBackend(name="openai")
PRICE = Price(
    model="m",
    service="our contract",
    usd_per_million_tokens=10.0,
    date=dt.date(2026, 11, 1),
    source="page 4",
)


def written(path: Path, texts: list[str], **extra: object) -> PlannedFile:
    rows = [
        {
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "yes"},
            ],
            **extra,
        }
        for text in texts
    ]
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(data)
    return PlannedFile(path=path, sha256="0" * 64, bytes=len(data), examples=len(rows))


@pytest.fixture
def train(tmp_path: Path) -> PlannedFile:
    return written(tmp_path / "train.jsonl", [f"question {n}" for n in range(40)])


@pytest.fixture(autouse=True)
def _no_tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever tokenizers this machine has: count as one that has none."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "no tables"))


def spec(model: str = "gpt-4o-mini", **fields: object) -> JobSpec:
    return JobSpec.model_validate({"model": model, "training_file": "f", **fields})


def of(file: PlannedFile, model: str = "gpt-4o-mini", **fields: object) -> Estimate:
    return estimate(OPENAI, spec(model, **fields), {"training_file": file})


# --- the estimate ---------------------------------------------------------------------------------


def test_the_expected_cost_is_that_of_data_stats(train: PlannedFile) -> None:
    found = statistics(train.path, counter_for("gpt-4o-mini"))
    expected = estimate_cost(found, "gpt-4o-mini", epochs=2)
    cost = of(train, hyperparameters=Hyperparameters(n_epochs=2))
    assert cost.model_dump(include=set(Cost.model_fields)) == expected.model_dump()
    assert cost.epochs_given


@pytest.mark.parametrize(("examples", "epochs"), [(10, 10), (33, 3), (40, 3)])
def test_epochs_follow_the_services_rule(tmp_path: Path, examples: int, epochs: int) -> None:
    cost = of(written(tmp_path / "t.jsonl", ["q"] * examples))
    assert (cost.epochs, cost.epochs_given) == (epochs, False)
    auto = of(
        written(tmp_path / "t.jsonl", ["q"] * examples),
        hyperparameters=Hyperparameters(n_epochs="auto"),
    )
    assert auto == cost


def test_estimated_tokens_have_a_margin(train: PlannedFile) -> None:
    known = of(train)
    assert not known.exact
    assert "tiktoken" in known.counting
    assert known.usd is not None
    assert known.most_usd is not None
    assert known.margin == pytest.approx(2, abs=0.01)
    assert known.most_usd == pytest.approx(known.usd * known.margin)
    unknown = estimate(OPENAI, spec("m"), {"training_file": train}, prices={"m": PRICE})
    assert 2 < unknown.margin <= 4


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1))
@settings(max_examples=60, deadline=None)
def test_there_are_never_more_tokens_than_bytes(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    """A tokenizer of bytes makes a token of each at worst, whatever a guess says."""
    file = written(tmp_path_factory.mktemp("rows") / "t.jsonl", texts)
    cost = estimate(OPENAI, spec("m"), {"training_file": file}, prices={"m": PRICE})
    content = sum(len(text.encode()) for text in texts)
    most = cost.billed_tokens * cost.margin / cost.epochs
    assert most <= max(file.bytes, cost.tokens) + 1
    assert most >= min(content, cost.tokens)


def test_preferences_may_be_billed_with_either_output(tmp_path: Path) -> None:
    row = {
        "input": {"messages": [{"role": "user", "content": "a long question " * 20}]},
        "preferred_output": [{"role": "assistant", "content": "yes"}],
        "non_preferred_output": [{"role": "assistant", "content": "no"}],
    }
    path = tmp_path / "dpo.jsonl"
    path.write_text((json.dumps(row) + "\n") * 12, "utf-8")
    file = PlannedFile(path=path, sha256="", bytes=path.stat().st_size, examples=12)
    assert of(file, method="dpo").margin == pytest.approx(4, abs=0.1)


def test_a_price_holds_at_its_own_service(train: PlannedFile) -> None:
    files = {"training_file": train}
    elsewhere = estimate(FakeBackend(name="azure"), spec(), files)
    assert (elsewhere.usd, elsewhere.most_usd, elsewhere.price) == (None, None, None)
    assert elsewhere.unknown == "there is no price for gpt-4o-mini at azure"


def test_a_users_own_price_holds_anywhere(train: PlannedFile, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[[price]]\nmodel = "gpt-4o-mini"\nservice = "our contract"\n'
        'usd_per_million_tokens = 1.0\ndate = 2026-11-01\nsource = "page 4"\n'
    )
    for name in ("azure", "openai", "https://host.example/v1"):
        cost = estimate(
            FakeBackend(name=name), spec(), {"training_file": train}, prices=load_prices([path])
        )
        assert cost.usd == cost.billed_tokens / 1e6


def test_validation_is_billed_where_the_price_says_so(train: PlannedFile, tmp_path: Path) -> None:
    valid = written(tmp_path / "valid.jsonl", ["another question"] * 20)
    files = {"training_file": train, "validation_file": valid}
    two = spec("m", hyperparameters=Hyperparameters(n_epochs=2))
    alone = estimate(OPENAI, two, files, prices={"m": PRICE})
    both = PRICE.model_copy(update={"validation": True})
    cost = estimate(OPENAI, two, files, prices={"m": both})
    tokens = statistics(valid.path, counter_for("m")).tokens
    assert tokens is not None
    assert cost.billed_tokens == alone.billed_tokens + 2 * tokens.total
    assert cost.tokens == alone.tokens


def test_images_have_no_known_price(tmp_path: Path) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://host.example/a.png"}}
    row = {
        "messages": [
            {"role": "user", "content": [image]},
            {"role": "assistant", "content": "a cat"},
        ]
    }
    path = tmp_path / "images.jsonl"
    path.write_text((json.dumps(row) + "\n") * 10, "utf-8")
    file = PlannedFile(path=path, sha256="", bytes=path.stat().st_size, examples=10)
    cost = of(file)
    assert (cost.usd, cost.most_usd) == (None, None)
    assert "image" in cost.unknown


def test_reinforcement_is_billed_by_time(train: PlannedFile) -> None:
    cost = of(train, model="o4-mini", method="reinforcement")
    assert cost.usd is None
    priced = estimate(
        OPENAI, spec("m", method="reinforcement"), {"training_file": train}, prices={"m": PRICE}
    )
    assert (priced.usd, priced.unknown) == (None, "reinforcement jobs are billed by time")


def test_ones_own_machine_costs_no_money(train: PlannedFile, tmp_path: Path) -> None:
    local = LocalBackend(Settings(home=tmp_path / "home", cache=tmp_path / "cache"))
    cost = estimate(local, spec("smollm2-135m"), {"training_file": train})
    assert (cost.local, cost.usd, cost.most_usd, cost.price) == (True, 0.0, 0.0, None)
    check_budget(cost, 0.0)
    counter = counter_of(local, spec("smollm2-135m"))
    assert isinstance(counter, EstimatedCounter)
    assert counter.note  # says why it is none


class Pricing(FakeBackend):
    """A service that says itself what a job will cost."""

    says: float | Exception | None = 4.25
    asked: JobSpec | None = None

    def price(self, spec: JobSpec) -> float | None:
        self.asked = spec
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


def test_the_service_is_asked_for_its_price_if_it_has_the_files(train: PlannedFile) -> None:
    backend = Pricing(name="openai")
    files = {"training_file": train.model_copy(update={"file_id": "file-1"})}
    own = estimate(backend, spec(), files)
    assert (own.usd, own.most_usd, own.margin) == (4.25, 4.25, 1.0)
    assert (own.said_by, own.unknown, own.price) == ("openai", "", None)
    assert backend.asked == spec().model_copy(update={"training_file": "file-1"})
    with pytest.raises(CostError):
        check_budget(own, 4.24)
    check_budget(own, 4.25)


def test_without_the_files_it_is_not_asked(train: PlannedFile) -> None:
    backend = Pricing(name="openai")
    there = train.model_copy(update={"file_id": "file-1"})
    files = {"training_file": there, "validation_file": train}
    assert estimate(backend, spec(), files).said_by == ""
    assert backend.asked is None


@pytest.mark.parametrize("says", [None, ServiceError("broken"), -1.0, float("nan"), float("inf")])
def test_a_service_that_cannot_say_leaves_the_estimate_from_here(
    train: PlannedFile, says: float | Exception | None
) -> None:
    backend = Pricing(name="openai")
    backend.says = says
    files = {"training_file": train.model_copy(update={"file_id": "file-1"})}
    assert estimate(backend, spec(), files) == of(train)


# --- the gate -------------------------------------------------------------------------------------


def cost(usd: float | None, most: float | None = None) -> Estimate:
    return Estimate(
        model="m",
        tokens=1,
        epochs=1,
        epochs_given=True,
        billed_tokens=1,
        exact=False,
        usd=usd,
        most_usd=most,
        unknown="" if usd is not None else "there is no price for m at s",
    )


def test_the_upper_bound_counts() -> None:
    check_budget(cost(1.0, 2.0), 2.0)
    check_budget(cost(1.0, 2.0), None)
    with pytest.raises(CostError) as error:
        check_budget(cost(1.0, 2.0), 1.99)
    assert all(figure in error.value.message for figure in ("$2.00", "$1.00", "$1.99"))
    assert error.value.exit_code == 9


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_is_no_amount_lets_nothing_pass(limit: float) -> None:
    with pytest.raises(ConfigError, match="max_cost"):
        check_budget(cost(0.0, 0.0), limit)


def test_figures_that_differ_by_less_than_a_cent_are_told_apart() -> None:
    with pytest.raises(CostError, match=r"can cost \$2\.01 .* more than the \$2\.00"):
        check_budget(cost(1.0, 2.001), 2.0)


@pytest.mark.parametrize("unknown", [None, cost(None)])
def test_what_nobody_knows_does_not_pass(unknown: Estimate | None) -> None:
    check_budget(unknown, None)
    check_budget(unknown, 1.0, allow_unknown=True)
    with pytest.raises(CostError, match="nobody knows") as error:
        check_budget(unknown, 1.0)
    assert "--allow-unknown-cost" in error.value.hint


def test_what_is_known_to_be_too_dear_is_not_allowed_by_allowing_the_unknown() -> None:
    with pytest.raises(CostError):
        check_budget(cost(1.0, 2.0), 1.0, allow_unknown=True)


def test_a_plain_cost_is_its_own_bound() -> None:
    plain = Cost.model_validate(cost(1.0).model_dump(include=set(Cost.model_fields)))
    check_budget(plain, 1.0)
    with pytest.raises(CostError):
        check_budget(plain, 0.99)
