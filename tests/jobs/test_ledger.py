from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ftjobs.errors import StoreError
from ftjobs.jobs.ledger import Intent, Ledger


def test_it_remembers_across_objects(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "home")
    assert ledger.file_of("b", "hash") is None
    assert ledger.intent("b", "i") is None
    ledger.remember_file("b", "hash", "file-1")
    ledger.intend("b", "i", "i")
    again = Ledger(tmp_path / "home")
    assert again.file_of("b", "hash") == "file-1"
    assert again.file_of("other", "hash") is None
    assert again.intent("b", "i") == Intent(None)
    again.remember_job("b", "i", "job-1")
    assert ledger.intent("b", "i") == Intent("job-1")
    ledger.forget("b", "i")
    assert again.intent("b", "i") is None


HOLD = (
    "import sys, time; from pathlib import Path; from ftjobs.jobs.ledger import Ledger\n"
    "with Ledger(Path(sys.argv[1])).alone('aa', print):\n"
    "    print('locked', flush=True); time.sleep(60)"
)


def test_a_second_process_waits_and_a_dead_holder_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    said: list[str] = []
    entered = threading.Event()

    def enter() -> None:
        with Ledger(tmp_path).alone("aa", said.append):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.3)
    assert "waiting" in said[0]
    with holder:
        holder.kill()
    assert entered.wait(10)
    waiting.join()


RACE = """
import multiprocessing, sys
from pathlib import Path
from ftjobs.jobs.ledger import Ledger

def write(home, name, barrier):
    barrier.wait()
    for n in range(3):
        Ledger(home).remember_job("b", f"{name}-{n}", "job")
        assert Ledger(home).intent("b", f"{name}-{n}")

processes = multiprocessing.get_context("fork")
for round in range(15):
    barrier = processes.Barrier(8)
    home = Path(sys.argv[1]) / str(round)
    writers = [processes.Process(target=write, args=(home, n, barrier)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
"""


def test_many_processes_may_begin_it_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_writes_from_many_threads(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    threads = [
        threading.Thread(target=ledger.remember_job, args=("b", str(n), f"job-{n}"))
        for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ledger.intent("b", str(n)) for n in range(20)] == [
        Intent(f"job-{n}") for n in range(20)
    ]


def test_a_damaged_one_says_that_it_may_be_deleted(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=r"ledger\.sqlite") as caught:
        Ledger(tmp_path).intent("b", "i")
    assert "Delete" in caught.value.hint


def test_a_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ledger = Ledger(tmp_path / "file" / "home")
    acts: list[Callable[[], object]] = [
        lambda: ledger.intend("b", "i", "i"),
        ledger.alone("a", print).__enter__,
    ]
    for act in acts:
        with pytest.raises(StoreError, match="FTJOBS_HOME"):
            act()


def test_one_that_a_stopped_process_holds_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.jobs.ledger.PATIENCE", 0.1)
    ledger = Ledger(tmp_path)
    ledger.intend("b", "i", "i")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as caught:
            ledger.intend("b", "i", "i")
    assert "Another process" in caught.value.hint


def test_one_of_other_tables_may_be_deleted(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as newer:
        newer.execute("CREATE TABLE intents (everything TEXT)")
    with pytest.raises(StoreError, match="column") as caught:
        Ledger(tmp_path).intent("b", "i")
    assert "Delete" in caught.value.hint


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").touch()
    with pytest.raises(StoreError, match="locks: File exists"):
        Ledger(tmp_path).alone("a", print).__enter__()
