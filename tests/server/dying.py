"""A server that is killed in the midst: `python -m tests.server.dying HOME MODEL WHERE`.

It prints its URL.  WHERE is "create", just after a job was created and before anybody knows of it,
"complete", between an upload's file and the note of it, or "never".
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.schema import File, Job, JobSpec
from ftjobs.server.database import Database
from ftjobs.server.desk import Desk
from ftjobs.server.options import Options
from ftjobs.server.running import serving


class Idle(LocalBackend):
    """Creates jobs that nobody trains."""

    def _ensure_worker(self) -> None:
        return


class Dying(Idle):
    """Is killed when it has created a job, or has taken a second file."""

    where = "never"

    def create(self, spec: JobSpec) -> Job:
        job = super().create(spec)
        if self.where == "create":
            os.kill(os.getpid(), signal.SIGKILL)
        return job

    def upload(self, path: Path, **how: Any) -> File:
        file = super().upload(path, **how)
        if self.where == "complete" and file.filename == "parts.jsonl":
            os.kill(os.getpid(), signal.SIGKILL)
        return file


def main(home: Path, model: str, where: str) -> None:
    """Serve until it is killed."""
    backend = Dying(Settings(home=home, cache=home / "cache"))
    backend.where = where
    options = Options(port=0, models={"tiny-otter": model})
    with serving(Desk(backend, options, Database(home))) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
