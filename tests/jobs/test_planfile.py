"""A plan file is what was reviewed: whole, unchanged, and without a secret."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.fake import FakeBackend
from ftjobs.errors import ConfigError
from ftjobs.jobs.plan import Plan, plan_job
from ftjobs.jobs.planfile import read_plan, write_plan

TRAIN = Path(__file__).parents[2] / "datasets/support/train.jsonl"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_job(
        FakeBackend(name="openai", models=("gpt-4o-mini",)),
        TRAIN,
        model="gpt-4o-mini",
        suffix="日本語",
        metadata={"team": 'a "b"'},
        hyperparameters={"n_epochs": 3, "learning_rate_multiplier": 0.1},
        max_cost=2.5,
    )


@pytest.fixture
def file(plan: Plan, tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    write_plan(plan, path)
    return path


def test_what_is_written_is_read_back(plan: Plan, file: Path) -> None:
    assert plan.cost is not None
    assert plan.cost.margin > 1
    assert read_plan(file) == plan
    assert read_plan(str(file)) == plan
    assert json.loads(file.read_text("utf-8"))["object"] == "plan"
    assert "日本語" in file.read_text("utf-8")
    assert [*file.parent.iterdir()] == [file]


def test_layout_does_not_matter(plan: Plan, file: Path) -> None:
    values = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(dict(reversed(values.items()))), "utf-8")
    assert read_plan(file) == plan


def test_it_holds_no_line_of_data(file: Path) -> None:
    first = json.loads(TRAIN.read_text("utf-8").splitlines()[0])
    text = file.read_text("utf-8")
    assert all(message["content"] not in text for message in first["messages"])


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_cost", 1000.0), ("identity", "0" * 32), ("backend", "azure"), ("notes", []), ("x", 1)],
)
def test_an_edited_plan_is_refused(file: Path, field: str, value: object) -> None:
    values = json.loads(file.read_text("utf-8"))
    if values.get(field) == value:
        value = [{"level": "info", "text": "t"}]
    file.write_text(json.dumps({**values, field: value}), "utf-8")
    with pytest.raises(ConfigError, match="was changed after it was made"):
        read_plan(file)


def test_a_plan_without_its_digest_is_refused(file: Path) -> None:
    values = json.loads(file.read_text("utf-8"))
    del values["sha256"]
    file.write_text(json.dumps(values), "utf-8")
    with pytest.raises(ConfigError, match="was changed"):
        read_plan(file)


def test_another_version_is_refused(file: Path) -> None:
    file.write_text(file.read_text("utf-8").replace('"version": 1', '"version": 2'), "utf-8")
    with pytest.raises(ConfigError, match="a plan of version 2; this ftjobs reads version 1"):
        read_plan(file)


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_damaged_plan_is_a_clear_error(
    plan: Plan, tmp_path_factory: pytest.TempPathFactory, place: int, byte: int
) -> None:
    """Cut anywhere, or with any one byte changed: read whole, or refused."""
    path = tmp_path_factory.mktemp("plans") / "plan.json"
    write_plan(plan, path)
    whole = path.read_bytes()
    place %= len(whole) - 2
    for damaged in (whole[:place], whole[:place] + bytes([byte]) + whole[place + 1 :]):
        path.write_bytes(damaged)
        assert outcome(path) in (plan, "refused")


def outcome(path: Path) -> Plan | str:
    try:
        return read_plan(path)
    except ConfigError as error:
        return "refused" if error.message.startswith(f"{path}: ") else error.message


@pytest.mark.parametrize("text", ["", "[]", "3", '"plan"', '{"object": "job"}', "[" * 100_000])
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="not a plan, or cut short"):
        read_plan(path)


def test_what_cannot_be_read_or_written(plan: Plan, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.json", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigError, match=words):
            read_plan(path)
    with pytest.raises(ConfigError, match="cannot be a path"):
        read_plan("a\0b")
    with pytest.raises(ConfigError, match="No such file"):
        write_plan(plan, tmp_path / "nowhere/plan.json")
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (2**22 + 1))
    with pytest.raises(ConfigError, match="not a plan"):
        read_plan(large)


def test_a_path_that_is_no_utf8_is_not_written(plan: Plan, tmp_path: Path) -> None:
    name = Path(os.fsdecode(b"caf\xe9.jsonl"))
    file = plan.files["training_file"].model_copy(update={"path": name})
    with pytest.raises(ConfigError, match="UTF-8"):
        write_plan(plan.model_copy(update={"files": {"training_file": file}}), tmp_path / "p.json")
    assert list(tmp_path.iterdir()) == []
