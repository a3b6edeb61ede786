"""The body of `create` and the reading of answers, against rules of their own and by property."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.backends.base import check_supported
from ftjobs.backends.profiles import ANY_URL, PROFILES, Profile
from ftjobs.backends.wire.body import create_body, read_checkpoint, read_file, read_job
from ftjobs.errors import ConfigError, ServiceError, UnsupportedError
from ftjobs.schema import IDENTITY, Checkpoint, Hyperparameters, Job, JobSpec
from tests.backends.quirks import REFUSALS

WIRE = {
    name: profile.filled({"AZURE_OPENAI_ENDPOINT": "https://h", "PORTKEY_PROVIDER": "@p"})
    for name, profile in PROFILES.items()
    if profile.adapter == "wire"
}
ODD = Profile(
    base_url="https://h/v1",
    capabilities=ANY_URL.capabilities,
    metadata_in="tags",
    renamed={"n_epochs": "epochs", "batch_size": "n_epochs"},
    settings={"packing": True, "epochs": 7},
    statuses={"completed": "succeeded", "cancelled_by_user": "cancelled"},
    extra_body={"tier": "fast"},
)


def spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"model": "m", "training_file": "file-1"} | fields)


# --- what is sent -------------------------------------------------------------------------------


def test_every_wire_profile_has_rules_to_be_held_to() -> None:
    assert set(WIRE) == set(REFUSALS)


def test_nebius_gets_its_settings_on_top_and_lora_switched_on() -> None:
    wanted = spec(hyperparameters={"learning_rate": 1e-4, "lora_r": 16, "lora_alpha": 32.0})
    assert create_body(wanted, PROFILES["nebius"], "nebius") == {
        "model": "m",
        "training_file": "file-1",
        "hyperparameters": {"learning_rate": 1e-4, "lora_r": 16, "lora_alpha": 32, "lora": True},
    }
    assert "hyperparameters" not in create_body(spec(), PROFILES["nebius"], "nebius")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"n_epochs": 21}, "nebius takes no n_epochs of 21\nIt takes 1 to 20."),
        ({"batch_size": 65}, "1 to 64"),
        ({"lora_r": 4}, "8 to 128"),
        ({"context_length": 4096}, "8192 to 131072"),
        ({"lora_alpha": 16.5}, "only whole numbers"),
    ],
)
def test_what_is_outside_the_limits_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        create_body(spec(hyperparameters=given), PROFILES["nebius"], "nebius")


def test_settings_are_renamed_and_defaults_give_way() -> None:
    wanted = spec(hyperparameters={"batch_size": 4}, metadata={"team": "otter", "v": "a=b"})
    assert create_body(wanted, ODD, "odd") == {
        "tier": "fast",
        "model": "m",
        "training_file": "file-1",
        "tags": ["team=otter", "v=a=b"],
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"packing": True, "epochs": 7, "n_epochs": 4}},
        },
    }
    given = create_body(spec(hyperparameters={"n_epochs": 2}), ODD, "odd")
    assert given["method"]["supervised"]["hyperparameters"] == {"packing": True, "epochs": 2}


def test_metadata_that_tags_cannot_tell_apart_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="no key can hold ="):
        create_body(spec(metadata={"a=b": "c"}), ODD, "odd")


SMALL = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CHOSEN = st.fixed_dictionaries(
    {},
    optional={
        "n_epochs": st.integers(1, 50) | st.just("auto"),
        "batch_size": st.integers(1, 256) | st.just("auto"),
        "learning_rate_multiplier": st.floats(0, 100, exclude_min=True) | st.just("auto"),
        "beta": st.floats(0, 2, exclude_min=True),
        "learning_rate": st.floats(0, 1, exclude_min=True),
        "lora_r": st.integers(1, 512),
        "lora_alpha": st.floats(0, 4096, exclude_min=True) | st.integers(1, 64),
        "lora_dropout": st.floats(0, 1, exclude_max=True),
        "context_length": st.integers(8, 200_000),
        "validation_split": st.floats(0, 1, exclude_min=True, exclude_max=True),
    },
)
LABELS = st.dictionaries(SMALL | st.just(IDENTITY), SMALL, max_size=3)


@st.composite
def specs(draw: st.DrawFn, profile: Profile) -> JobSpec:
    """Jobs, most of which the profile can do."""
    able = profile.capabilities
    chosen = draw(CHOSEN)
    if draw(st.integers(0, 3)):
        chosen = {name: each for name, each in chosen.items() if name in able.hyperparameters}
    return JobSpec(
        model=draw(SMALL.filter(bool)),
        training_file=draw(SMALL.filter(bool)),
        validation_file=draw(st.none() | SMALL),
        method=draw(st.sampled_from(["supervised", "dpo", "reinforcement"])),
        hyperparameters=Hyperparameters(**chosen),
        suffix=draw(st.none() | SMALL.filter(bool)),
        seed=draw(st.none() | st.integers(0, 2**31 - 1)),
        metadata=draw(LABELS),
    )


@pytest.mark.parametrize("name", sorted(WIRE))
@given(data=st.data())
@settings(max_examples=150)
def test_no_job_makes_a_body_that_its_service_refuses(name: str, data: st.DataObject) -> None:
    profile = WIRE[name]
    wanted = data.draw(specs(profile))
    with suppress(ConfigError):  # refused here, before anything is sent
        check_supported(wanted, profile.capabilities, name)
        body = create_body(wanted, profile, name)
        assert REFUSALS[name](json.loads(json.dumps(body))) == ""


@given(data=st.data())
def test_what_is_sent_comes_back(data: st.DataObject) -> None:
    profile = data.draw(st.sampled_from([*WIRE.values(), ODD]))
    wanted = data.draw(specs(profile))
    with suppress(ConfigError):
        check_supported(wanted, profile.capabilities, "x")
        body = json.loads(json.dumps(create_body(wanted, profile, "x")))
        job = read_job({"id": "j", "created_at": 1, "status": "queued", **body}, profile, "x")
        assert job.hyperparameters.items() >= wanted.hyperparameters.given().items()
        kept = profile.metadata_in != "none"
        assert job.metadata == (dict(wanted.metadata) if kept else {})
        assert (job.suffix, job.seed) == (wanted.suffix, wanted.seed)


# --- what comes back ----------------------------------------------------------------------------

PLAIN: dict[str, Any] = {"id": "ftjob-1", "created_at": 5, "status": "running", "model": "m"}


def test_statuses_are_mapped_and_unknown_ones_pass() -> None:
    for theirs, ours in (
        ("completed", "succeeded"),
        ("cancelled_by_user", "cancelled"),
        ("x", "x"),
    ):
        assert read_job({**PLAIN, "status": theirs}, ODD, "odd").status == ours


def test_nebius_keeps_settings_on_top_and_tags() -> None:
    raw = PLAIN | {
        "tags": [f"{IDENTITY}=abc", "prod", 3],
        "hyperparameters": {"n_epochs": 3, "lora": True, "learning_rate": None},
        "fine_tuned_model": None,
        "suffix": "s",
    }
    job = read_job(raw, PROFILES["nebius"], "nebius")
    assert job.metadata == {IDENTITY: "abc", "prod": "", "3": ""}
    assert job.hyperparameters == {"n_epochs": 3, "lora": True}
    assert (job.suffix, job.training_file) == ("s", "")
    assert read_job(PLAIN | {"tags": "one"}, PROFILES["nebius"], "x").metadata == {"one": ""}
    assert read_job(PLAIN | {"tags": ["one"]}, PROFILES["openai"], "x").metadata == {}


def test_the_method_says_more_than_the_top() -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
    raw = PLAIN | {"method": method, "hyperparameters": {"beta": "auto", "n_epochs": 2}}
    job = read_job(raw, PROFILES["openai"], "x")
    assert job.hyperparameters == {"beta": 0.1, "n_epochs": 2}
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1, "n_epochs": "auto"}}}
    assert read_job(raw | {"method": method}, PROFILES["openai"], "x") == job.model_copy(
        update={"method": method}
    )
    renamed = read_job(PLAIN | {"hyperparameters": {"epochs": 2, "n_epochs": 8}}, ODD, "x")
    assert renamed.hyperparameters == {"n_epochs": 2, "batch_size": 8}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({}, None),
        (None, None),
        ("", None),
        ({"code": None}, None),
        (False, None),
        ([], None),
        ("out of memory", "out of memory"),
        ({"message": "m"}, "m"),
        ({"message": {"a": 1}}, '{"a": 1}'),
        ({"code": 500}, None),
        (["x"], '["x"]'),
    ],
)
def test_an_error_is_one_only_where_something_is_said(error: object, message: str | None) -> None:
    job = read_job(PLAIN | {"error": error}, PROFILES["openai"], "x")
    assert (job.error and job.error.message) == message
    assert job.error is None or job.error.code in (None, "500")


def test_odd_fields_do_no_harm() -> None:
    odd = {
        "method": "supervised",
        "hyperparameters": [1],
        "metadata": {"n": 1, "null": None},
        "result_files": None,
        "user_provided_suffix": "s",
        "estimated_finish": None,
        "new_field": {"deep": [1]},
        "organization_id": None,
    }
    job = read_job(PLAIN | odd, PROFILES["openai"], "x")
    assert job.hyperparameters == {}
    assert job.metadata == {"n": "1", "null": "null"}
    assert (job.suffix, job.method, job.result_files) == ("s", None, ())
    assert job.new_field == {"deep": [1]}  # type: ignore[attr-defined]


@pytest.mark.parametrize("missing", ["id", "status"])
def test_what_makes_a_job_must_be_there(missing: str) -> None:
    raw = {name: value for name, value in PLAIN.items() if name != missing}
    with pytest.raises(ServiceError, match=f"lab answered a job whose {missing}"):
        read_job(raw, ANY_URL, "lab")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [*Job.model_fields, *Checkpoint.model_fields, "user_provided_suffix", "tags"]
)


@given(
    st.dictionaries(FIELDS | st.text(max_size=6), JSON, max_size=10),
    st.booleans(),
    st.sampled_from([*WIRE.values(), ODD]),
)
@settings(max_examples=400)
def test_any_object_is_read_or_is_the_services_error(
    raw: Mapping[str, Any], whole: bool, profile: Profile
) -> None:
    raw = {**raw, **PLAIN} if whole else raw
    with suppress(ServiceError):
        job = read_job(raw, profile, "lab")
        assert isinstance(job.ended, bool)
        assert all(isinstance(text, str) for text in job.metadata.values())
        assert job.error is None or job.error.code or job.error.message
    with suppress(ServiceError):
        read_file(raw, "lab")
    with suppress(ServiceError):
        assert read_checkpoint(raw, "ftjob-1", "lab").step_number is not None


def test_errors_of_reading_quote_nothing() -> None:
    with pytest.raises(ServiceError) as caught:
        read_job(PLAIN | {"created_at": "the training text"}, ANY_URL, "lab")
    assert "training text" not in str(caught.value)
    assert "created_at" in str(caught.value)


def test_a_step_number_of_thousands_of_digits_is_none() -> None:
    raw = {"id": "c", "fine_tuned_model_checkpoint": "ft:m:o:s:i:ckpt-step-" + "9" * 5000}
    assert read_checkpoint(raw, "ftjob-1", "lab").step_number == 0
