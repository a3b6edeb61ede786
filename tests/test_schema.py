"""The nouns take what services really send, and refuse what users mistype."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ftjobs.schema import Event, File, Hyperparameters, Job, JobSpec, Metrics, Sampling

JOB: dict[str, Any] = {
    "id": "ftjob-1",
    "created_at": 1,
    "status": "running",
    "model": "m",
    "training_file": "file-1",
}


@pytest.mark.parametrize("error", [None, {}, {"code": None, "message": None, "param": None}])
def test_an_empty_error_is_none(error: object) -> None:
    assert Job.model_validate(JOB | {"error": error}).error is None


def test_a_real_error_is_kept() -> None:
    job = Job.model_validate(JOB | {"error": {"code": "new_word", "message": "why"}})
    assert job.error is not None
    assert job.error.code == "new_word"


def test_unknown_words_and_fields_pass_through() -> None:
    job = Job.model_validate(JOB | {"status": "defrosting", "shiny": {"new": 1}})
    assert (job.status, job.ended) == ("defrosting", False)
    assert job.model_dump()["shiny"] == {"new": 1}


def test_a_time_that_no_clock_shows_can_be_reckoned_with() -> None:
    at = Event(id="e", created_at=10**400, message="").created_at
    assert at == Event(id="e", created_at=at + 1, message="").created_at
    assert Event(id="e", created_at=-(10**400), message="").created_at - 0.5 < at


def test_nulls_where_collections_belong() -> None:
    nulls = {"result_files": None, "metadata": None, "hyperparameters": None}
    job = Job.model_validate(JOB | nulls)
    assert (job.result_files, job.metadata, job.hyperparameters) == ((), {}, {})
    assert Event(id="e", created_at=1, message="m", data=None).data == {}


def test_nouns_are_frozen_and_pickle() -> None:
    job = Job.model_validate(JOB | {"extra": 1})
    assert pickle.loads(pickle.dumps(job)) == job
    with pytest.raises(ValidationError):
        job.status = "succeeded"  # type: ignore[misc]


@given(
    st.dictionaries(
        st.sampled_from(sorted(Metrics.model_fields)),
        st.none() | st.floats() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_any_numbers_in_an_event_can_be_read(data: dict[str, Any]) -> None:
    event = Event(id="e", created_at=1, message="Step", type="metrics", data=data)
    assert event.metrics is not None


@pytest.mark.parametrize(
    "settings",
    [
        {"n_epochs": 0}, {"n_epochs": 51}, {"batch_size": 257}, {"learning_rate_multiplier": 0},
        {"learning_rate_multiplier": float("inf")}, {"beta": 2.1}, {"lora_dropout": 1},
        {"epochs": 3}, {"n_epochs": "many"}, {"validation_split": 0},
    ],
)  # fmt: skip
def test_hyperparameters_outside_the_wires_ranges(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Hyperparameters(**settings)


def test_auto_is_not_given() -> None:
    assert Hyperparameters(n_epochs="auto", batch_size=4).given() == {"batch_size": 4}


@pytest.mark.parametrize(
    "value", ["q_proj,v_proj", "q_proj, v_proj", ["q_proj", "v_proj"], ("q_proj,v_proj",)]
)
def test_layers_are_a_list_however_it_is_written(value: object) -> None:
    for strict in (True, False):
        settings = Hyperparameters.model_validate({"lora_target_modules": value}, strict=strict)
        assert settings.lora_target_modules == ("q_proj", "v_proj")


@pytest.mark.parametrize("value", ["", "q_proj,", [3], ["q_proj", 3], 3, {}])
def test_what_is_no_list_of_layers(value: object) -> None:
    with pytest.raises(ValidationError):
        Hyperparameters.model_validate({"lora_target_modules": value}, strict=True)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": -1}, {"seed": 2**31}, {"suffix": ""}, {"suffix": "x" * 65}, {"model": ""},
        {"metadata": {"k" * 65: "v"}}, {"metadata": {"k": "v" * 513}},
        {"metadata": {str(i): "" for i in range(17)}}, {"colour": "red"},
    ],
)  # fmt: skip
def test_specs_outside_the_wires_limits(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobSpec(**{"model": "m", "training_file": "f"} | settings)


def test_one_stop_text_or_several() -> None:
    assert Sampling(stop="a").stop == ("a",)
    assert Sampling(stop=("a", "b")).stop == ("a", "b")
    with pytest.raises(ValidationError):
        Sampling(stop=("",))


def test_beams_are_searched_not_drawn() -> None:
    assert Sampling(num_beams=4, temperature=0, n=4).beams == 4
    assert (Sampling().beams, Sampling(num_beams=1, temperature=1, n=3).beams) == (1, 1)
    with pytest.raises(ValidationError, match="temperature must be 0"):
        Sampling(num_beams=2, temperature=0.1)
    with pytest.raises(ValidationError, match="2 beams give at most 2 answers"):
        Sampling(num_beams=2, n=3)


def test_formats_of_answers_are_the_wires() -> None:
    own = {"name": "x", "schema": {"type": "object"}, "strict": True}
    for form in ({"type": "json_object"}, {"type": "json_schema", "json_schema": own}):
        assert Sampling(response_format=form).response_format == form
    assert Sampling(response_format={"type": "text"}) == Sampling()


@pytest.mark.parametrize(
    "given",
    [
        {}, {"type": "xml"}, {"type": "json_schema"}, {"type": "json_object", "schema": {}},
        {"type": "json_schema", "json_schema": {"schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "no spaces", "schema": {}}},
        {"type": "json_schema", "json_schema": {"name": "x"}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": True}},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}, "strict": True},
    ],
)  # fmt: skip
def test_formats_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="response_format"):
        Sampling(response_format=given)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 0}, {"num_beams": 65}, {"top_k": -1}, {"min_tokens": -1},
        {"repetition_penalty": 0}, {"repetition_penalty": float("inf")},
        {"min_tokens": 9, "max_tokens": 8}, {"top_logprobs": 2},
        {"logprobs": False, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 21},
        {"logprobs": True, "num_beams": 2},
        {"response_format": {"type": "json_object"}, "num_beams": 2},
    ],
)  # fmt: skip
def test_samplings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Sampling(**settings)


def test_a_file_of_the_wire() -> None:
    file = File.model_validate(
        {"id": "file-1", "bytes": 3, "created_at": 1, "filename": "a", "purpose": "later"}
    )
    assert (file.status, file.sha256) == ("processed", None)
