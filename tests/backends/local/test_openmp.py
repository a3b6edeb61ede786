"""Threads sleep beside a busy program, spin on a quiet machine, and obey the user."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ftjobs.backends.local import openmp


def test_the_user_is_obeyed() -> None:
    assert openmp.environment({"OMP_WAIT_POLICY": "ACTIVE"}, runnable=9) == {}
    assert openmp.environment({"GOMP_SPINCOUNT": "5"}, runnable=9) == {}


def test_quiet_and_busy() -> None:
    assert openmp.environment({}, runnable=0) == {}
    assert openmp.environment({}, runnable=1) == {"OMP_WAIT_POLICY": "PASSIVE"}


def test_a_busy_program_is_seen() -> None:
    loop = "import time\nend = time.monotonic() + 20\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", loop]) as busy:
        try:
            assert openmp._others_running() >= 1
        finally:
            busy.kill()


def test_a_collapse_is_noticed_only_where_others_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)

    def verdicts(rates: list[float], runnable: int) -> list[bool]:
        pace = openmp.Pace()
        return [pace.collapsed(rate, runnable=runnable) for rate in rates]

    assert verdicts([100.0] * 10 + [2.0], 1)[-1] is True
    collapse = [100.0] * 10 + [15.0] * 3
    assert verdicts(collapse, 1) == [False] * 12 + [True]
    assert not any(verdicts(collapse, 0))
    assert not any(verdicts([100.0] * 10 + [15.0, 15.0, 100.0] * 5, 1))
    assert not any(verdicts([100.0] * 10 + [30.0] * 10, 1))
    assert not any(verdicts([5.0] * 30, 1))
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert not any(verdicts(collapse, 1))
