import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.jobs.fields import build, suggest
from ftjobs.schema import Hyperparameters, JobSpec, Sampling


def test_texts_become_values() -> None:
    chosen = build(Hyperparameters, {"n_epochs": "3", "beta": "auto", "learning_rate": "1e-4"})
    assert chosen == Hyperparameters(n_epochs=3, beta="auto", learning_rate=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_epochs": "many"}, "n_epochs: .*integer.*, or: .*'auto'"),
        ({"n_epochs": 51}, "n_epochs: .*less than or equal to 50"),
        ({"n_epohcs": 3}, "unknown setting 'n_epohcs'"),
    ],
)
def test_what_is_wrong_is_said(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Hyperparameters, values)


def test_pydantic_adds_nothing_to_our_own_words() -> None:
    job = {"model": "m", "training_file": "f", "metadata": {"k" * 65: "v"}}
    with pytest.raises(ConfigError, match=r"^metadata: metadata 'k+': keys have at most 64"):
        build(JobSpec, job)


def test_a_typing_mistake_gets_the_close_name() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Hyperparameters, {"n_epohcs": 3})
    assert caught.value.hint == "Did you mean n_epochs?"
    assert suggest("zzz", ["b", "a"]) == "Known: a, b."


def test_a_value_is_never_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        build(JobSpec, {"model": "m", "training_file": "f", "seed": "my secret"})
    assert "secret" not in str(caught.value)


@given(st.dictionaries(st.sampled_from([*Sampling.model_fields]), st.text() | st.integers()))
def test_any_value_gives_a_model_or_a_config_error(values: dict[str, object]) -> None:
    try:
        build(Sampling, values)
    except ConfigError as error:
        refused = error.message.partition(":")[0]
    else:
        refused = next(iter(Sampling.model_fields))
    assert refused in Sampling.model_fields
