"""The profiles of services, and what they say of a whole file."""

from __future__ import annotations

import pickle

import pytest

from ftjobs.data.rules import RULES
from ftjobs.data.targets import LOCAL, TARGETS, Target, target_named
from ftjobs.errors import ConfigError

METHODS = {"supervised", "dpo", "reinforcement", "completion"}


def test_the_table() -> None:
    assert list(TARGETS) == ["local", "openai", "azure", "fireworks", "nebius", "together", "wire"]
    for name, target in TARGETS.items():
        assert target.name == name
        assert target_named(name) is target
        assert "supervised" in target.methods
        assert set(target.methods) <= METHODS
        assert set(target.severities) <= set(RULES)
        assert pickle.loads(pickle.dumps(target)) == target
    assert [name for name, target in TARGETS.items() if not target.hosted] == ["local"]
    assert TARGETS["local"] is LOCAL


def test_an_unknown_target() -> None:
    with pytest.raises(ConfigError, match="unknown target 'nowhere'") as caught:
        target_named("nowhere")
    assert "openai" in str(caught.value.hint)


def test_a_severity_is_the_rule_s_unless_the_target_says_otherwise() -> None:
    assert LOCAL.severity_of("FT601") == RULES["FT601"].severity == "warning"
    assert TARGETS["openai"].severity_of("FT601") == "error"
    assert TARGETS["together"].severity_of("FT409") == "error"
    assert TARGETS["openai"].severity_of("FT409") == "warning"
    assert Target("mine", severities={"FT409": "info"}).severity_of("FT409") == "info"


@pytest.mark.parametrize(
    ("target", "method", "limit"),
    [
        ("openai", "reinforcement", 50_000),
        ("openai", "supervised", None),
        ("openai", None, None),
        ("fireworks", "supervised", 3_000_000),
        ("fireworks", "reinforcement", 50_000),
        ("local", "reinforcement", None),
    ],
)
def test_the_most_examples(target: str, method: str | None, limit: int | None) -> None:
    assert TARGETS[target].limit(method) == limit
