"""The profiles of services, and what they say of a whole file."""

from __future__ import annotations

import pickle

import pytest

from ftjobs.data.rules import RULES
from ftjobs.data.targets import LOCAL, TARGETS, Target, target_named, whole_file
from ftjobs.errors import ConfigError

METHODS = {"supervised", "dpo", "reinforcement", "completion"}


def said(target: str, method: str | None, rows: int, size_bytes: int = 1) -> list[str]:
    found = whole_file(TARGETS[target], method=method, rows=rows, size_bytes=size_bytes)
    return [finding.code for finding in found]


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
    ("target", "method", "rows", "expected"),
    [
        ("openai", "reinforcement", 50_000, []),
        ("openai", "reinforcement", 50_001, ["FT505"]),
        ("openai", "supervised", 10**7, []),
        ("fireworks", "supervised", 3_000_000, []),
        ("fireworks", "supervised", 3_000_001, ["FT505"]),
        ("fireworks", "reinforcement", 50_001, ["FT505"]),
        ("local", "dpo", 10, ["FT507"]),
        ("local", "supervised", 10**9, []),
        ("nebius", "dpo", 10, ["FT507"]),
        ("nebius", "completion", 10, []),
        ("openai", None, 10**9, []),
    ],
)
def test_examples_and_methods(
    target: str, method: str | None, rows: int, expected: list[str]
) -> None:
    assert said(target, method, rows) == expected


def test_the_size_of_a_file() -> None:
    assert said("openai", "supervised", 10, 8 * 10**9) == []
    assert said("openai", "supervised", 10, 8 * 10**9 + 1) == ["FT506"]
    assert said("local", "supervised", 10, 10**15) == []


def test_the_words() -> None:
    found = list(whole_file(TARGETS["openai"], method="completion", rows=60_000, size_bytes=9**11))
    assert [finding.message for finding in found] == [
        "file has 31,381,059,609 bytes; openai takes at most 8,000,000,000",
        "openai does not train with completion; it knows supervised, dpo, reinforcement",
    ]
    (finding,) = whole_file(TARGETS["azure"], method="reinforcement", rows=60_000, size_bytes=1)
    assert (
        finding.message == "file has 60,000 examples; azure takes at most 50,000 for reinforcement"
    )
