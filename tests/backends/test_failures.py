"""The table of known failures, and what is said of errors that are in it or not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends import failures
from ftjobs.backends.failures import explain_failure, failure_of, hint, named
from ftjobs.backends.translation import refusal
from ftjobs.data.rules import RULES
from ftjobs.errors import ConfigError, InvalidRequestError, QuotaError, ServiceError
from ftjobs.schema import JobError

LOCAL = Path(failures.__file__).parent / "local"
TABLE = failures.failures()
ENTRIES = [pytest.param(entry, id=entry.code) for entry in TABLE.values()]


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_is_whole(entry: failures.Failure) -> None:
    assert entry.cause.endswith(".")
    assert entry.remedy.endswith(".") or ":" in entry.remedy
    assert entry.source
    assert not entry.title.endswith(".")
    assert (entry.mark == "V") == (entry.where == "local"), "only our own code is verified"
    assert entry.source.startswith("https://") or "https://" in entry.source or entry.mark in "VI"


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_saying_leads_to_its_entry(entry: failures.Failure) -> None:
    """So none is hidden by an entry above it.  A saying without special characters is itself."""
    for saying in entry.says:
        if re.escape(saying).replace("\\ ", " ").replace("\\-", "-") == saying:
            found = explain_failure(None, f"Sorry: {saying.upper()}!")
            assert found == entry, saying


@pytest.mark.parametrize("entry", ENTRIES)
def test_codes_are_found_in_any_case(entry: failures.Failure) -> None:
    assert explain_failure(f" {entry.code.swapcase()} ") == entry


def test_every_code_of_local_jobs_is_explained() -> None:
    source = "".join(path.read_text("utf-8") for path in LOCAL.rglob("*.py"))
    raised = set(re.findall(r'code="(\w+)"', source))
    raised |= set(re.findall(r'return "(\w+_(?:memory|dependency|file|error))"', source))
    raised |= set(re.findall(r'return "(\w+)" if isinstance\(error, ModelError\)', source))
    assert {"out_of_memory", "worker_crashed", "loss_not_finite", "invalid_model"} <= raised
    assert raised <= set(TABLE)


def test_sources_of_local_codes_name_the_file_that_raises_them() -> None:
    for entry in TABLE.values():
        if entry.where == "local":
            raising = LOCAL.parents[2] / entry.source
            assert f'"{entry.code}"' in raising.read_text("utf-8"), entry.code


def test_dataset_codes_that_are_named_exist() -> None:
    for entry in TABLE.values():
        for code in re.findall(r"FT\d+", entry.remedy):
            assert code in RULES


# Messages as services have sent them: issues and forum threads named in failures.toml.
@pytest.mark.parametrize(
    ("code", "message", "found"),
    [
        (
            "server_error",
            "Error while running moderation eval refusals_v3 for snapshot ft:gpt-4o-mini:x",
            "unsafe_model",
        ),
        (
            "invalid_training_file",
            "The job failed due to a file format error in the training file. Invalid file format. "
            "Example 6174 message contains an invalid token: <|fim_suffix|>.",
            "reserved_token",
        ),
        ("invalid_training_file", "Line 3: something else", "invalid_training_file"),
        (
            "invalidPayload",
            "The specified file reference must point to a completed file import.",
            "file_not_ready",
        ),
        (
            "invalidPayload",
            "The specified base model does not support fine-tuning.",
            "unsupported_model",
        ),
        (
            None,
            "The provided training data failed RAI checks for harm types: [hate_fairness].",
            "unsafe_data",
        ),
        (
            None,
            "Model ft:gpt-3.5-turbo-0613:t::M is not available for fine-tuning or does not exist.",
            "unsupported_model",
        ),
        (None, "File 'file-abc123' is not ready.", "file_not_ready"),
        ("", "You exceeded your current quota, please check your plan.", "insufficient_quota"),
        (
            "user_error",
            "Training file has 7 example(s), but must have at least 10 examples",
            "invalid_n_examples",
        ),
    ],
)
def test_generic_codes_are_told_apart_by_their_messages(
    code: str | None, message: str, found: str
) -> None:
    known = explain_failure(code, message)
    assert known is not None
    assert known.code == found


def test_a_message_never_overrules_a_code_that_says_enough() -> None:
    known = explain_failure("invalid_n_examples", "You exceeded your current quota")
    assert known is not None
    assert known.code == "invalid_n_examples"


def test_an_unknown_code_is_not_guessed_at() -> None:
    error = InvalidRequestError(
        "m: exceeded your current quota", code="brand_new", request_id="r-1"
    )
    assert failure_of(error) is None
    assert hint(error) == (
        "The service's code is brand_new.\nFor the service's support: request r-1"
    )


def test_hints() -> None:
    assert hint(None) == ""
    assert hint(JobError(message="odd")) == ""
    known = TABLE["invalid_n_examples"]
    assert hint(JobError(code="invalid_n_examples")) == f"{known.cause} {known.remedy}"
    broken = ServiceError("it broke", code="server_error", request_id="r-2")
    assert hint(broken).endswith("\nFor the service's support: request r-2")


def test_a_refusal_says_what_helps() -> None:
    said = {"error": {"code": "insufficient_quota", "message": "no money"}}
    error = refusal(429, {"x-request-id": "r-3"}, said, "openai", "sk-secret")
    assert isinstance(error, QuotaError)
    assert error.hint == f"{TABLE['insufficient_quota'].cause} {TABLE['insufficient_quota'].remedy}"


def test_a_refusal_that_nobody_knows_is_verbatim_without_the_key() -> None:
    said = {"error": {"code": "odd_sk-secret", "message": "odd"}}
    error = refusal(400, {"x-request-id": "r-4"}, said, "openai", "sk-secret")
    assert error.hint == "The service's code is odd_[key].\nFor the service's support: request r-4"


def test_names_that_a_user_types() -> None:
    assert named("QuotaExceeded").code == "quotaExceeded"
    with pytest.raises(ConfigError) as caught:
        named("insuficient_quota")
    assert "Did you mean insufficient_quota" in caught.value.hint
    with pytest.raises(ConfigError) as caught:
        named("insuf")
    assert caught.value.hint == "Did you mean insufficient_permissions or insufficient_quota?"
    with pytest.raises(ConfigError) as caught:
        named("ft3o3", also=RULES)
    assert "FT303" in caught.value.hint
    with pytest.raises(ConfigError, match=r"^unknown code 'z{40}'\n"):
        named("z" * 1000)


@given(st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()))
def test_any_words_are_taken(code: str | None, message: str | None) -> None:
    found = explain_failure(code, message)
    assert found is None or found.code in TABLE
    assert isinstance(hint(JobError(code=code, message=message)), str)


@pytest.mark.parametrize("length", [10_000, 1_000_000])
def test_long_messages_take_no_long_time(length: int) -> None:
    """The patterns are linear, and only a message's start is looked at."""
    assert explain_failure(None, "file " * length) is None
