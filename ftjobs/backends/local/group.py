"""Several processes that train together: how a worker becomes a group of them.

The group is torchrun's: every process runs the same worker module, and the environment tells each
its rank.  Rank 0 is the worker proper; the others do as it says (`follower`).  So a user's own
`torchrun --nnodes 2 … -m ftjobs.backends.local.worker` is a worker as well.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ftjobs.errors import ConfigError, StoreError, StoreLockedError

SHUTDOWN = 30
"""Seconds that a stopped group has for the step under way, and to save it."""


class GroupLost(Exception):
    """Another process of the group is gone, and so is this worker: the next one goes on."""


def inside(environ: Mapping[str, str]) -> bool:
    """True in a process that torchrun has started together with others."""
    return int(environ.get("WORLD_SIZE", "1")) > 1


def count(processes: str) -> int:
    """A number of processes; "auto" is one for each GPU here.

    Raises:
        ConfigError: neither "auto" nor a number from 1.
    """
    if processes == "auto":
        import torch

        return max(1, torch.cuda.device_count())
    if not processes.isdecimal() or int(processes) < 1:
        raise ConfigError(f"processes: {processes!r} is neither auto nor a number from 1")
    return int(processes)


def command(processes: int, module: str, words: Sequence[str]) -> list[str]:
    """The command that runs `module` with `words` in so many processes of this machine."""
    options = ["--standalone", "--local-addr", "localhost", "--shutdown-timeout", str(SHUTDOWN)]
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", *options]
    return [*launcher, "--nproc-per-node", str(processes), "-m", module, *words]


def environment(processes: int, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of that command: cores shared out, nothing open but on this machine."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    own = {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONSAFEPATH": "1",  # -P for those that are started: the launcher does not hand it on
    }
    with suppress(OSError, IndexError):
        names = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
        own["GLOO_SOCKET_IFNAME"] = names[0]
    return {**own, **environ}


def hold(path: Path) -> None:
    """Lock a file for as long as this process lives, also as the launcher that it will `become`.

    Raises:
        StoreLockedError: another launcher holds it.
        StoreError: it cannot be opened.
    """
    import fcntl

    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StoreLockedError(f"a worker of several processes holds {path.parent}") from None
    except OSError as error:
        raise StoreError(f"{path} cannot be locked: {error.strerror}") from None
    os.set_inheritable(file, True)


def become(processes: int, module: str, words: Sequence[str]) -> None:
    """Turn this process into the launcher of a group.  It does not return."""
    environ = environment(processes, os.environ)
    os.execve(sys.executable, command(processes, module, words), environ)  # noqa: S606 — our words
