"""The process that claims jobs and runs them: `python -m ftjobs.backends.local.worker`.

One worker per store: it holds a lock on `worker.lock` as long as it lives, which the operating
system releases however it dies.  It outlives the command that started it, and ends when no job
has needed it for a while.  A thread writes its heartbeat.  Whoever looks at an unfinished job
calls `ensure`, so that a job whose worker died is taken up by another one.

With `--processes` it becomes a group of them (`group`), of which one is the worker; started by
torchrun, it is part of one already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ftjobs.backends.local import checkpoints, group, openmp
from ftjobs.backends.local.store import LeaseLost, News, Store, WorkerInfo, disk_is_full
from ftjobs.errors import (
    DatasetError,
    FtjobsError,
    ModelError,
    StoreError,
    StoreLockedError,
)
from ftjobs.schema import JobError

if TYPE_CHECKING:
    from ftjobs.backends.local.training.processes import Alone

HEARTBEAT = 2.0
"""Seconds between heartbeats."""
IDLE = 20.0
"""Seconds without work after which a worker ends."""


def ensure(store: Store, cache: Path, processes: int | str = 1) -> bool:
    """Start a worker if none holds the store's lock.  True if one was started.

    It trains in so many processes, "auto": one for each GPU.

    Two callers may start two: the second finds the lock held and ends.
    """
    if _is_held(_lock_path(store)) or _is_held(_group_lock_path(store)):
        return False
    log = store.home / "worker.log"
    # -P: a file of the user's in the working folder must not stand in for a module.
    words = [sys.executable, "-P", "-m", __name__, "--home", str(store.home), "--cache", str(cache)]
    # The shell puts the worker into the background and ends, so it is no child of ours: it
    # survives us, and we need not wait for it.
    if processes != 1:
        words += ["--processes", str(processes)]
    script = 'log=$1; shift; "$@" >>"$log" 2>&1 </dev/null &'
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", str(log), *words],
        start_new_session=True,
        cwd=store.home,
        env=os.environ | openmp.environment(os.environ),
        check=True,
    )
    return True


def _is_held(path: Path) -> bool:
    try:
        with FileLock(path, blocking=False):
            return False
    except Timeout:
        return True
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from None


def serve(store: Store, cache: Path, *, idle: float = IDLE, processes: Alone | None = None) -> None:
    """Run jobs until none has been waiting for `idle` seconds, or SIGTERM.

    Raises:
        StoreLockedError: another worker holds the store.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    owner = secrets.token_hex(8)
    store.sweep()
    while not stop.is_set():
        with _lock(store) as lock_file, _heartbeat(store, owner):
            _serve_until_idle(store, cache, owner, idle, stop, lock_file, processes)
        # A job that came while we let go of the lock was told that a worker lives: look again.
        if not store.waiting():
            return


def _serve_until_idle(
    store: Store,
    cache: Path,
    owner: str,
    idle: float,
    stop: threading.Event,
    lock_file: int | None,
    processes: Alone | None,
) -> None:
    last = time.monotonic()
    while not stop.is_set() and time.monotonic() - last < idle:
        if _inode(store) != lock_file:
            raise StoreLockedError(f"{store.home} was removed or replaced under this worker")
        job_id = store.claim(owner)
        if job_id is None:
            stop.wait(0.2)
            continue
        if run_job(store, cache, owner, job_id, stop, processes):
            _start_over()
        last = time.monotonic()


def _start_over() -> None:
    """Become a fresh worker whose threads sleep while they wait.  The lock goes with this image."""
    _say("the machine is crowded: starting over with threads that sleep while they wait")
    environ = os.environ | openmp.environment({}, runnable=1)
    os.execve(sys.executable, sys.orig_argv, environ)  # noqa: S606 — our own command line again


def run_job(
    store: Store,
    cache: Path,
    owner: str,
    job_id: str,
    stop: threading.Event,
    processes: Alone | None = None,
) -> bool:
    """Run one claimed job to its end, to a pause, or to the worker's own end.

    True if the job was handed back so that this process may start over.

    Raises:
        GroupLost: another of the `processes` died.  The job stays as it is.
    """
    store.keep_reserve()
    again = False
    try:
        # Imported here: torch takes seconds, and a store without jobs does not need it.
        from ftjobs.backends.local.runner import JobRun

        again = JobRun(store, cache, owner, job_id, processes).run(stop)
    except LeaseLost as lost:
        _say(f"{job_id}: stopped, it is {lost.status}")
    except group.GroupLost:
        raise  # as if this process had died itself: the next worker goes on
    except Exception as error:
        if isinstance(error, StoreError) and not disk_is_full(error):
            raise  # it may pass: the job stays as it is, and the next worker goes on with it
        if not isinstance(error, FtjobsError):
            traceback.print_exc()  # into worker.log
        with contextlib.suppress(LeaseLost):
            _give_up(store, owner, job_id, error)
    finally:
        if processes:
            processes.leave()
    if store.job(job_id).ended:  # then nobody goes on from a state of it
        checkpoints.prune_states(store.job_folder(job_id), keep=0)
    return again


def _give_up(store: Store, owner: str, job_id: str, error: Exception) -> None:
    """Fail the job; but a full disk only pauses it, since space can be freed."""
    if disk_is_full(error):
        _say(f"{job_id}: the disk is full")
        message = "The disk is full. Free some space, then resume the job; nothing is lost."
        store.spend_reserve()
        news = News(f"disk-full:{time.time()}", message, level="error")
        store.finish(job_id, owner, "paused", news=[news])
        return
    code = getattr(error, "code", None) or _code(error)
    message = str(error) if isinstance(error, FtjobsError) else f"{type(error).__name__}: {error}"
    _say(f"{job_id}: failed, {code}")
    param = getattr(error, "param", None)
    failure = JobError(code=code, message=message, param=param)
    store.finish(job_id, owner, "failed", error=failure)


def _code(error: Exception) -> str:
    said = str(error).lower()  # a CPU's words, and a GPU's
    if isinstance(error, MemoryError) or "allocate memory" in said or "out of memory" in said:
        return "out_of_memory"
    if isinstance(error, ImportError):
        return "missing_dependency"
    if isinstance(error, DatasetError):
        return "invalid_training_file"
    return "invalid_model" if isinstance(error, ModelError) else "internal_error"


@contextlib.contextmanager
def _lock(store: Store) -> Iterator[int | None]:
    """Hold the store's lock; gives the number of the file that is locked."""
    try:
        with FileLock(_lock_path(store), timeout=1):  # `ensure` holds it for an instant
            yield _inode(store)
    except Timeout:
        holder = store.worker()
        who = f"process {holder.pid} on {holder.host}" if holder else "another process"
        raise StoreLockedError(
            f"a worker already serves {store.home}: {who}",
            hint="Nothing to do: it takes up every job of this store.",
        ) from None


@contextlib.contextmanager
def _heartbeat(store: Store, owner: str) -> Iterator[None]:
    info = WorkerInfo(owner, os.getpid(), socket.gethostname(), time.time(), time.time())
    store.heartbeat(info)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            with contextlib.suppress(StoreError):  # a full disk stops the job, not the heart
                now = WorkerInfo(info.owner, info.pid, info.host, info.started_at, time.time())
                store.heartbeat(now)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _inode(store: Store) -> int | None:
    try:
        return _lock_path(store).stat().st_ino
    except OSError:
        return None


def _lock_path(store: Store) -> Path:
    return store.home / "worker.lock"


def _group_lock_path(store: Store) -> Path:
    """Held by the launcher of a group: such a worker takes seconds to begin, and to end."""
    return store.home / "group.lock"


def _say(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}", flush=True)  # noqa: T201 — the log


def main() -> int:
    """Entry of the worker process.  Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ftjobs.backends.local.worker")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds without work")
    parser.add_argument("--processes", default="1", help="a number, or auto: one for each GPU")
    arguments = parser.parse_args()
    try:
        if group.inside(os.environ):
            _serve_together(arguments.home, arguments.cache, arguments.idle)
            return 0
        store = Store(arguments.home)
        if (processes := group.count(arguments.processes)) > 1:
            with _lock(store):  # else the group would begin in vain
                group.hold(_group_lock_path(store))
            group.become(processes, "ftjobs.backends.local.worker", sys.argv[1:])
        serve(store, arguments.cache, idle=arguments.idle)
    except FtjobsError as error:
        print(error, file=sys.stderr)  # noqa: T201 — this process has no other output
        return int(error.exit_code)
    except group.GroupLost as lost:
        _say(f"another process of the group is gone: {lost}")
        return 1
    return 0


def _serve_together(home: Path, cache: Path, idle: float) -> None:
    """Be one process of a group: rank 0 serves the store, the others follow it."""
    from ftjobs.backends.local.training.processes import Together

    processes = Together()
    if processes.rank:
        from ftjobs.backends.local.follower import follow

        follow(processes, cache)
        return
    try:
        serve(Store(home), cache, idle=idle, processes=processes)
    finally:
        processes.dismiss()


if __name__ == "__main__":
    sys.exit(main())
