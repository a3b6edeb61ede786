"""A comparison that is killed goes on where it was, and comes to the same result."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ftjobs.backends.fake import FakeBackend
from ftjobs.evals.result import Comparison
from ftjobs.schema import ChatMessage
from tests.leaving import Deadly, deadly, killed_until_done, program

ROWS = 60
UNDER_WAY = 45  # it starts with 20, and each answer before the kill admits one more


def say(model: str, messages: Sequence[ChatMessage]) -> str:
    question = str(messages[-1].content)
    is_right = model == "tuned" and int(question[1:]) % 3
    return question.upper() if is_right else "no idea"


def asked(service: Deadly) -> Counter[tuple[str, str]]:
    bodies = [r.json for r in service.requests if r.path == "/chat/completions"]
    return Counter((body["model"], body["messages"][-1]["content"]) for body in bodies)


def run(service: Deadly, home: Path, *words: str) -> int:
    process = program(service, home, *words)
    process.communicate(timeout=60)
    return process.returncode


def found(path: Path) -> dict[str, object]:
    """What must not hang on how often it was killed."""
    comparison = Comparison.model_validate_json(path.read_text("utf-8"))
    assert comparison.verdict is not None
    return {
        "texts": [{k: v[0].text for k, v in row.answers.items()} for row in comparison.rows],
        "contrasts": comparison.contrasts,
        "word": comparison.verdict.word,
        "tokens": [(arm.tokens_read, arm.tokens_written) for arm in comparison.arms],
    }


def test_killed_anywhere_it_goes_on(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = (
        {"messages": [{"role": "user", "content": f"q{i}"}], "expected": f"Q{i}"}
        for i in range(ROWS)
    )
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    words = ("compare", str(prompts), "--base", "base", "--tuned", "tuned", "-o")
    fake = FakeBackend(models=("base", "tuned"), answers=say)
    with deadly(fake, tmp_path / "service", seed=11) as service:
        home = tmp_path / "killed"
        home.mkdir()
        kills = killed_until_done(service, home, 4, 25, *words, str(tmp_path / "killed.json"))
        assert kills >= 2
        counts = asked(service)
        assert len(counts) == 2 * ROWS
        assert counts.total() <= 2 * ROWS + kills * UNDER_WAY
        before = counts.total()
        assert run(service, home, *words, str(tmp_path / "again.json")) == 0
        assert asked(service).total() == before  # every answer was kept
        whole = tmp_path / "whole"
        whole.mkdir()
        assert run(service, whole, *words, str(tmp_path / "whole.json")) == 0
    assert found(tmp_path / "killed.json") == found(tmp_path / "whole.json")


def test_what_is_stored_when_it_is_killed_is_never_asked_again(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = ({"messages": [{"role": "user", "content": f"q{i}"}]} for i in range(300))
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    words = ("compare", str(prompts), "--base", "base", "--tuned", "tuned", "--gate", "none")
    fake = FakeBackend(models=("base", "tuned"), answers=say)
    with deadly(fake, tmp_path / "service", seed=3) as service:
        process = program(service, tmp_path, *words)
        service.lives, service.victim = 200, process
        process.communicate(timeout=60)
        with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as db:
            (kept,) = db.execute("SELECT count(*) FROM answers").fetchone()
        assert kept > 100
        before = asked(service).total()
        assert run(service, tmp_path, *words) == 0
        assert asked(service).total() - before == 600 - kept
