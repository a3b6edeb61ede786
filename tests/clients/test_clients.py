"""Unmodified clients of OpenAI's API, from a file to an answer of the tuned model.

Each is told a base URL and a key, and nothing more.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.clients.conftest import MODEL, NAMED, TRAIN, Account
from tests.clients.environments import node, python

HERE = Path(__file__).parent
LONGEST = 240.0  # seconds for one client
Open = Callable[[str], Account]


def run(words: Sequence[object], environ: Mapping[str, str], folder: Path) -> str:
    """What a program prints.  Its own errors are the test's."""
    done = subprocess.run(
        list(map(str, words)),
        env=dict(environ) | {"HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def test_the_openai_python_sdk(account: Open, tmp_path: Path) -> None:
    mine = account("python")
    words = [
        python("openai"),
        "-P",
        HERE / "openai_python.py",
        MODEL,
        TRAIN,
        mine.port,
        mine.secret,
    ]
    run(words, mine.environ, tmp_path)


def test_the_openai_node_sdk(account: Open, tmp_path: Path) -> None:
    mine = account("node")
    program, packages = node("node")
    words = [program, HERE / "openai_node.mjs", packages, MODEL, TRAIN, mine.port, mine.secret]
    run(words, mine.environ, tmp_path)


def test_litellm(account: Open, tmp_path: Path) -> None:
    mine = account("litellm")
    # Its prices come from the network otherwise.
    environ = mine.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run([python("litellm"), "-P", HERE / "litellm_sdk.py", MODEL, TRAIN], environ, tmp_path)


def test_dspy(account: Open, tmp_path: Path) -> None:
    mine = account("dspy")
    environ = mine.environ | {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DSPY_FINETUNEDIR": str(tmp_path / "data"),
        "DSPY_CACHEDIR": str(tmp_path / "cache"),
    }
    # It asks by LiteLLM, which takes a tuned model for one of OpenAI's by the name of its base.
    run([python("dspy"), "-P", HERE / "dspy_provider.py", NAMED], environ, tmp_path)


def test_instructor(account: Open, tmp_path: Path) -> None:
    mine = account("instructor")
    instructor = python("instructor").with_name("instructor")
    environ = mine.environ | {"COLUMNS": "250"}
    run([instructor, "files", "upload", TRAIN, "--poll", "1"], environ, tmp_path)
    listed = run([instructor, "files", "list"], environ, tmp_path)
    [file_id] = re.findall(r"file-\w+", listed)
    assert TRAIN.name in listed
    run([instructor, "files", "status", file_id], environ, tmp_path)
    made = ["jobs", "create-from-file", TRAIN, "--model", MODEL, "--n-epochs", "2",
            "--model-suffix", "instructor", "--validation-file", TRAIN, "--poll", "1"]  # fmt: skip
    shown = watch([instructor, *made], environ, tmp_path, until="succeeded")
    assert ":instructor:" in shown
    made = ["jobs", "create-from-id", file_id, "--model", MODEL, "--n-epochs", "50"]
    shown = watch([instructor, *made], environ, tmp_path, until="running")
    job_id = re.findall(r"created with ID: (ftjob-\w+)", shown)[0]
    assert "cancelled successfully" in run(
        [instructor, "jobs", "cancel", job_id], environ, tmp_path
    )
    assert "deleted successfully" in run(
        [instructor, "files", "delete", file_id], environ, tmp_path
    )


def watch(words: Sequence[object], environ: Mapping[str, str], folder: Path, *, until: str) -> str:
    """What a live table that never ends has shown in a terminal, once it shows `until`."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        list(map(str, words)),
        env=dict(environ) | {"HOME": str(folder), "TERM": "xterm"},
        cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as program:  # fmt: skip
        os.close(theirs)
        shown = bytearray()

        def read() -> None:
            try:
                while piece := os.read(ours, 65536):
                    shown.extend(piece)
            except OSError:  # it has ended
                return

        reader = threading.Thread(target=read)
        reader.start()
        end = time.monotonic() + LONGEST
        while until.encode() not in shown and program.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        program.terminate()
        reader.join()
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode(errors="replace"))
    assert until in text, text[-3000:]
    return text
