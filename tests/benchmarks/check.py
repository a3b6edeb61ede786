"""Checking a clean 200 MB chat file, against merely parsing it and against the cookbook's checks.

python -m tests.benchmarks.check       # prints; `checking()` is for the whole run
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ftjobs.data import check

ROOT = Path(__file__).parents[2]
BYTES = 200_000_000
ROUNDS = 3
COMPARED = ("FT1", "FT2", "FT3", "FT4", "FT5", "FT601", "FT602", "FT801")
"""Structure, roles, tool pairing, weights, reserved tokens and exact duplicates."""

TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "description": "Look an order up by its number.",
        "parameters": {
            "type": "object",
            "properties": {"order": {"type": "string"}, "details": {"type": "boolean"}},
            "required": ["order"],
        },
    },
}


def checking() -> None:
    """Print ratios.  Limits: 1.5 of orjson on one core, 0.9 with two processes, 0.35 of the
    cookbook, 150 MB and 24 bytes a row.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = generate(path, random.Random(1))
        names = ("orjson", "cookbook", "compared", "everything", "two processes")
        runs = [{name: _run(name, path) for name in names} for _ in range(ROUNDS)]
    seconds = {name: statistics.median(run[name]["wall"] for run in runs) for name in names}
    peak = max(run[name]["peak"] for run in runs for name in names[2:])
    print(f"checking {rows:,} rows, {BYTES / 1e6:.0f} MB:   of orjson  of the cookbook's checks")
    for name in names:
        parse, cookbook = (seconds[name] / seconds[peer] for peer in names[:2])
        print(f"    {name:14} {seconds[name]:6.2f} s {parse:10.2f} {cookbook:10.2f}")
    print(f"    at most {peak:.0f} MB", flush=True)


def _run(name: str, path: Path) -> dict[str, float]:
    code = f"from tests.benchmarks.check import measure; measure({name!r}, {str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def measure(name: str, path: str) -> None:
    """Do one thing, on one core but for "two processes", and print seconds and MB."""
    if name != "two processes" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    jobs: dict[str, Callable[[], object]] = {
        "orjson": lambda: _parse(path),
        "cookbook": lambda: _cookbook(path),
        "compared": lambda: _check(path, COMPARED),
        "everything": lambda: _check(path, ()),
        "two processes": lambda: _check(path, COMPARED, processes=2),
    }
    work = jobs[name]
    if name == "orjson":
        import orjson  # noqa: F401 - not part of what is timed
    began = time.perf_counter()
    work()
    wall = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"wall": wall, "peak": peak}))


def _check(path: str, select: tuple[str, ...], processes: int = 1) -> None:
    report = check(path, select=select, processes=processes)
    assert not report.issues, report.issues[:3]


def _parse(path: str) -> None:
    import orjson

    with open(path, "rb") as file:  # noqa: PTH123
        for line in file:
            orjson.loads(line)


def _cookbook(path: str) -> None:
    """What OpenAI's cookbook looks at: types, keys, roles and contents, counted by mistake."""
    mistakes: dict[str, int] = {}

    def count(name: str) -> None:
        mistakes[name] = mistakes.get(name, 0) + 1

    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        rows = [json.loads(line) for line in file]
    for row in rows:
        if not isinstance(row, dict):
            count("type")
            continue
        messages = row.get("messages", None)
        if not messages:
            count("no messages")
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                count("missing key")
            if any(key not in ("role", "content", "name", "weight", "tool_calls", "tool_call_id")
                   for key in message):  # fmt: skip
                count("unknown key")
            if message.get("role", None) not in ("system", "user", "assistant", "tool"):
                count("role")
            content, calls = message.get("content", None), message.get("tool_calls", None)
            if (not content and not calls) or not isinstance(content or "", str):
                count("content")
        if not any(message.get("role", None) == "assistant" for message in messages):
            count("no answer")
    assert not mistakes, mistakes


# --- the file ------------------------------------------------------------------------------------


def generate(path: Path, rng: random.Random) -> int:
    """Write about 200 MB of clean, distinct rows: one in ten with tools, one in ten Japanese."""
    rows, written = 0, 0
    texts = [
        _words("README.md", r"[A-Za-z][a-z]+[,.]?"),
        _words("README.ja.md", r"[ぁ-んァ-ン一-龯]+"),
    ]
    with path.open("wb") as file:
        while written < BYTES:
            kind = rng.random()
            row = _row(rng, texts[kind > 0.9], rows, tools=kind < 0.1)
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            written += file.write(line)
            rows += 1
    return rows


def _words(name: str, pattern: str) -> list[str]:
    return re.findall(pattern, (ROOT / name).read_text("utf-8"))


def _row(rng: random.Random, words: list[str], serial: int, *, tools: bool) -> dict[str, Any]:
    def text(least: int, most: int) -> str:
        lines = (" ".join(rng.choices(words, k=12)) for _ in range(rng.randint(least, most)))
        return "\n".join(lines)

    def turns() -> Iterator[dict[str, Any]]:
        if rng.random() < 0.5:
            yield {"role": "system", "content": f"You help customers. {text(1, 2)}"}
        yield {"role": "user", "content": f"Order {serial}: {text(1, 3)}"}
        if tools:
            asked = json.dumps({"order": str(serial), "details": True})
            call = {"name": "find_order", "arguments": asked}
            calls = [{"id": f"call_{serial}", "type": "function", "function": call}]
            yield {"role": "assistant", "content": None, "tool_calls": calls}
            yield {"role": "tool", "tool_call_id": f"call_{serial}", "content": text(1, 2)}
        yield {"role": "assistant", "content": text(1, 6)}
        for _ in range(rng.choice((0, 0, 1, 2, 4))):
            yield {"role": "user", "content": text(1, 2)}
            yield {"role": "assistant", "content": text(1, 6)}

    row: dict[str, Any] = {"messages": list(turns())}
    if serial % 20 == 1:
        row["messages"][-1]["weight"] = 1
    return {**row, "tools": [TOOL]} if tools else row


if __name__ == "__main__":
    checking()
