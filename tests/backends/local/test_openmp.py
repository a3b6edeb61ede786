"""Threads sleep beside a busy program, spin on a quiet machine, and obey the user."""

from __future__ import annotations

import subprocess
import sys

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
