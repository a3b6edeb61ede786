"""Threads sleep beside a busy program, spin on a quiet machine, and obey the user."""

from __future__ import annotations

import os
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


def test_a_process_that_answers_sleeps_and_leaves_jobs_their_choice() -> None:
    program = (
        "import os\n"
        "from ftjobs.backends.local import openmp\n"
        "before = dict(os.environ)\n"
        "openmp.prepare_this_process()\n"
        "print(dict(os.environ) == before)"
    )
    chosen = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environ = {name: text for name, text in os.environ.items() if name not in chosen}
    for own, policy in (({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")):
        found = subprocess.run(
            [sys.executable, "-c", program],
            env=environ | {"OMP_DISPLAY_ENV": "TRUE"} | own,
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.split() == ["True"]
        assert f"OMP_WAIT_POLICY = '{policy}'" in found.stderr


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
