"""Profiles: the shipped ones hold together, one's own are checked, a project's cannot take keys."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.backends.profiles import (
    ANY_URL,
    BODY,
    FILLED,
    HARMLESS,
    PROFILES,
    Choice,
    Profile,
    choose,
)
from ftjobs.config import OwnProfile
from ftjobs.errors import ConfigError
from ftjobs.schema import Hyperparameters, JobSpec

SECRET = "sk-secret-0123456789"


def own(name: str, text: str, *, project: bool = False) -> OwnProfile:
    """`[profiles.NAME]` as a settings file says it."""
    source = "ftjobs.toml" if project else "config.toml"
    fields = tomllib.loads(text)
    return OwnProfile(name=name, fields=fields, source=source, from_project=project)


# --- the shipped ones ---------------------------------------------------------------------------


def test_nine_services_ship() -> None:
    expected = "openai azure nebius litellm portkey unsloth ftjobs together fireworks"
    assert list(PROFILES) == expected.split()


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_shipped_profile_says_where_it_is_from(name: str) -> None:
    profile = PROFILES[name]
    assert profile.source
    assert profile.checked is not None
    assert profile.key_variables
    assert profile.filled(dict.fromkeys(profile.variables(), "https://h")).base_url


def test_no_two_services_share_a_key_variable() -> None:
    variables = [each for profile in PROFILES.values() for each in profile.key_variables]
    assert len(variables) == len(set(variables))


def test_dates_are_dates() -> None:
    assert PROFILES["openai"].closes == dt.date(2027, 1, 6)
    assert PROFILES["openai"].closed_to_new_since == dt.date(2026, 5, 7)


def test_a_job_decides_every_field_of_the_body_that_is_kept_from_profiles() -> None:
    assert {*JobSpec.model_fields} <= BODY


def test_headers_of_each_service() -> None:
    assert PROFILES["openai"].auth("k") == {"Authorization": "Bearer k"}
    assert PROFILES["azure"].auth("k") == {"api-key": "k"}
    portkey = PROFILES["portkey"].filled({"PORTKEY_PROVIDER": "@openai-prod"})
    assert portkey.auth("k") == {"x-portkey-api-key": "k", "x-portkey-provider": "@openai-prod"}


# --- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["https://r.openai.azure.com", "https://r.openai.azure.com/"])
def test_a_url_is_filled_from_the_environment(endpoint: str) -> None:
    filled = PROFILES["azure"].filled({"AZURE_OPENAI_ENDPOINT": endpoint})
    assert filled.base_url == "https://r.openai.azure.com/openai/v1"
    assert filled.variables() == frozenset()


def test_what_is_not_set_is_named_or_has_a_fallback() -> None:
    for environ in ({}, {"AZURE_OPENAI_ENDPOINT": " "}):
        with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT is not set"):
            PROFILES["azure"].filled(environ)
    litellm = PROFILES["litellm"].filled({})
    assert litellm.base_url == "http://localhost:4000"
    assert litellm.extra_body == {"custom_llm_provider": "openai"}
    assert PROFILES["litellm"].filled({"LITELLM_PROVIDER": "azure"}).query == {
        "custom_llm_provider": "azure"
    }


def test_a_header_that_cannot_carry_its_variable_is_refused_and_not_quoted() -> None:
    with pytest.raises(ConfigError, match="x-portkey-provider") as caught:
        PROFILES["portkey"].filled({"PORTKEY_PROVIDER": f"{SECRET}\nHost: evil"})
    assert SECRET not in str(caught.value)


def test_deep_fields_of_the_body_are_filled_and_braces_of_json_stay() -> None:
    text = """
        base_url = "https://h/v1"
        headers = { x-config = '{"retry": 3}' }
        extra_body = { a = { b = ["{WORD:-none}", 1, true] } }
    """
    profile = choose("lab", [own("lab", text)]).profile.filled({"WORD": "said"})
    assert profile.extra_body == {"a": {"b": ["said", 1, True]}}
    assert profile.headers == {"x-config": '{"retry": 3}'}


# --- one's own ----------------------------------------------------------------------------------


def test_a_new_service_speaks_the_plain_wire() -> None:
    choice = choose("lab", [own("lab", 'base_url = "https://lab.example/v1"')])
    assert choice == Choice(ANY_URL.at("https://lab.example/v1"), trusted=True)


def test_single_fields_of_a_shipped_profile_are_replaced() -> None:
    text = """
        extra_body = { trainingType = "developerTier" }
        [capabilities]
        list_lag = 3.0
    """
    azure = choose("azure", [own("azure", text)]).profile
    assert azure.extra_body == {"trainingType": "developerTier"}
    assert azure.capabilities.list_lag == 3.0
    assert azure.capabilities.methods == PROFILES["azure"].capabilities.methods
    assert azure.key_header == "api-key"
    assert choose("azure").profile == PROFILES["azure"]


def test_a_project_adds_to_what_the_user_says() -> None:
    tables = [
        own("lab", 'base_url = "https://lab.example/v1"\nkey_variables = ["LAB_KEY"]'),
        own("lab", "capabilities = { pause = false }", project=True),
    ]
    choice = choose("lab", tables)
    assert choice.trusted
    assert choice.profile.key_variables == ("LAB_KEY",)
    assert not choice.profile.capabilities.pause


MISTAKES = [
    ('base_urll = "https://h/v1"', r"config.toml: \[profiles.lab\] base_urll: .*no field"),
    ("parts = true", r"\[profiles.lab\] base_url: is missing"),
    ('base_url = "ftp://h"', "not a base URL"),
    (f'base_url = "https://me:{SECRET}@h/v1"', "more than a place"),
    ('base_url = "https://h/v1"\nadapter = "soap"', "'wire', 'together' or 'fireworks'"),
    (
        'base_url = "https://h/v1"\n[capabilities]\nmethod = ["x"]',
        r"capabilities.method: .*no fiel",
    ),
    ('base_url = "https://h/v1"\n[capabilities]\nhyperparameters = ["lr"]', "known: batch_size"),
    ('base_url = "https://h/v1"\n[capabilities]\nsampling = ["heat"]', "setting 'heat'; known: fr"),
    ('base_url = "https://h/v1"\nrenamed = { lr = "x" }', "unknown hyperparameter 'lr'"),
    ('base_url = "https://h/v1"\nrenamed = { n_epochs = "seed", batch_size = "seed" }', "one name"),
    ('base_url = "https://h/v1"\nrenamed = { n_epochs = "batch_size" }', "one name"),
    ('base_url = "https://h/v1"\nlimits = { n_epochs = [5, 1] }', "least comes before"),
    ('base_url = "https://h/v1"\nextra_body = { model = "m" }', "model is decided by the job"),
    ('base_url = "https://h/v1"\nheaders = { "a b" = "c" }', "name of a header"),
    ('base_url = "https://h/v1"\nkey_header = "a:b"', "name of a header"),
    ('base_url = "https://h/v1"\nheaders = { hOST = "evil.example" }', "base_url decides"),
    ('base_url = "https://h/v1"\nkey_prefix = "a\\r\\nb: "', "key_prefix"),
    ('base_url = "https://h/v1"\nkey_variables = ["A=B"]', "key_variables.0"),
    ('base_url = "https://h/v1"\nmetadata_in = "none"', 'identity = "suffix"'),
    ('base_url = "https://h/v1"\nsettings_in = "hyperparameters"', "only"),
    ("base_url = 3", "base_url"),
    ("notes = 3", "notes"),
    ('base_url = "https://h/v1"\nnotes = [{ text = "x", by = "y" }]', "Known: mark, source, text"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes_are_named_with_file_and_field(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        choose("lab", [own("lab", text)])
    assert SECRET not in str(caught.value)


def test_an_unknown_name_says_which_are_known() -> None:
    with pytest.raises(ConfigError, match=r"local, openai, .*, lab, or a base URL"):
        choose("opanai", [own("lab", 'base_url = "https://h/v1"')])


# --- what a project may not say -----------------------------------------------------------------

REDIRECTS = [
    'base_url = "https://evil.example/v1"',
    'key_variables = ["GITHUB_TOKEN"]',
    'key_header = "x-key"',
    'key_prefix = ""',
    'headers = { x-portkey-custom-host = "https://evil.example" }',
    'query = { api_base = "https://evil.example" }',
    'extra_body = { api_base = "https://evil.example" }',
    'adapter = "fireworks"',
    'account = "evil"',
    'metadata_in = "tags"',
]


@pytest.mark.parametrize("text", REDIRECTS)
@pytest.mark.parametrize("name", ["openai", "portkey", "lab"])
def test_a_project_cannot_change_where_a_known_service_is(name: str, text: str) -> None:
    known = own("lab", 'base_url = "https://lab.example/v1"\nkey_variables = ["LAB_KEY"]')
    with pytest.raises(ConfigError, match=rf"ftjobs.toml: \[profiles.{name}\]") as caught:
        choose(name, [known, own(name, text, project=True)])
    assert "config.toml" in caught.value.hint


LEAKS = [
    'key_variables = ["OPENAI_API_KEY"]',
    'key_variables = ["GITHUB_TOKEN"]',
    'headers = { x-token = "{GITHUB_TOKEN}" }',
    'query = { token = "{AWS_SECRET_ACCESS_KEY:-}" }',
    'extra_body = { deep = [{ token = "{OPENAI_API_KEY}" }] }',
    'account = "{OPENAI_API_KEY}"',
]


@pytest.mark.parametrize("text", LEAKS)
def test_a_projects_own_service_reads_no_variables(text: str) -> None:
    whole = f'base_url = "https://evil.example/v1"\n{text}'
    with pytest.raises(ConfigError, match="cannot name environment variables"):
        choose("lab", [own("lab", whole, project=True)])


def test_a_projects_own_place_is_not_trusted() -> None:
    table = own("lab", 'base_url = "https://lab.example/v1"', project=True)
    assert not choose("lab", [table]).trusted
    assert not choose("https://lab.example/v1", trusted=False).trusted
    assert choose("https://lab.example/v1").trusted
    assert choose("openai", trusted=False).trusted  # a project may choose among known services


WORDS = st.sampled_from(
    ["https://evil.example/v1", "{OPENAI_API_KEY}", "{HOME:-x}", "x", "OPENAI_API_KEY", "method"]
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    WORDS | st.booleans() | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
TABLES = st.dictionaries(st.sampled_from(sorted(Profile.model_fields)), VALUES, max_size=4)
WHERE = ("adapter", "key_variables", "key_header", "key_prefix", *FILLED)


@given(st.sampled_from(sorted(PROFILES)), TABLES)
def test_whatever_a_project_says_known_services_stay_where_they_are(
    name: str, fields: Mapping[str, Any]
) -> None:
    table = OwnProfile(name=name, fields=fields, source="ftjobs.toml", from_project=True)
    try:
        profile = choose(name, [table]).profile
    except ConfigError:
        return
    assert {*fields} <= HARMLESS
    for field in WHERE:
        assert getattr(profile, field) == getattr(PROFILES[name], field)


@given(TABLES)
def test_whatever_a_project_says_its_own_services_read_nothing(fields: Mapping[str, Any]) -> None:
    url = {"base_url": "https://lab.example/v1"}
    table = OwnProfile(
        name="lab", fields={**url, **fields}, source="ftjobs.toml", from_project=True
    )
    try:
        choice = choose("lab", [table])
    except ConfigError:
        return
    assert not choice.trusted
    assert choice.profile.variables() == frozenset()
    assert choice.profile.key_variables == ANY_URL.key_variables


def test_every_hyperparameter_has_a_service_that_takes_it() -> None:
    taken = {each for profile in PROFILES.values() for each in profile.capabilities.hyperparameters}
    assert taken == set(Hyperparameters.model_fields)


# --- the documentation --------------------------------------------------------------------------

HOSTED = Path(__file__).parents[2] / "docs/how-to/hosted.md"


def test_the_profiles_of_the_documentation_work() -> None:
    blocks = re.findall(
        r"^```toml\n(.*?)^```$", HOSTED.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    found = [tomllib.loads(block)["profiles"] for block in blocks]
    assert [[*tables] for tables in found] == [["lab"], ["azure", "gateway"]]
    for number, tables in enumerate(found):
        for name, fields in tables.items():
            source = "config.toml" if number else "ftjobs.toml"
            table = OwnProfile(name=name, fields=fields, source=source, from_project=not number)
            assert choose(name, [table]).trusted == bool(number)


def test_the_documentation_names_every_service_and_its_variables() -> None:
    text = HOSTED.read_text("utf-8")
    optional = {"FTJOBS_API_KEY", "PORTKEY_GATEWAY_URL"}
    for name, profile in PROFILES.items():
        assert f"| `{name}` |" in text
        for variable in {*profile.key_variables, *profile.variables()} - optional:
            assert variable in text
