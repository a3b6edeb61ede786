"""A plan in words: everything that decides about it, and nothing that a terminal obeys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftjobs.data.cost import Price
from ftjobs.jobs.budget import Estimate
from ftjobs.jobs.plan import Plan, PlannedFile
from ftjobs.jobs.preflight import Note
from ftjobs.reports.cells import width
from ftjobs.reports.plan import cost_in_words, outcome, text
from ftjobs.schema import Hyperparameters, JobSpec

PRICE = Price(
    model="m",
    service="OpenAI",
    usd_per_million_tokens=5.0,
    date=dt.date(2026, 11, 22),
    source="third party",
    note="two tables agree",
)


def cost(**changes: object) -> Estimate:
    values = {
        "model": "m",
        "tokens": 1000,
        "epochs": 3,
        "epochs_given": False,
        "billed_tokens": 3000,
        "exact": False,
        "usd": 0.015,
        "price": PRICE,
        "margin": 2.0,
        "most_usd": 0.0301,
        "counting": "the tokenizer of m is not known",
    }
    return Estimate.model_validate(values | changes)


def plan(**changes: object) -> Plan:
    spec = JobSpec(
        model="m",
        training_file="train.jsonl",
        suffix="support",
        seed=3,
        hyperparameters=Hyperparameters(n_epochs="auto", lora_r=8),
        metadata={"team": "a"},
    )
    file = PlannedFile(path=Path("train.jsonl"), sha256="0" * 64, bytes=31_063, examples=78)
    values = {
        "created_at": 0,
        "backend": "openai",
        "spec": spec,
        "files": {"training_file": file},
        "identity": "f" * 32,
        "cost": cost(),
        "max_cost": 2.0,
    }
    return Plan.model_validate(values | changes)


WHOLE = """\
Plan for openai

  model     m
  method    supervised
  settings  n_epochs auto, lora_r 8
  suffix    support
  seed      3
  metadata  team=a
  identity  ffffffffffffffffffffffffffffffff
  training  train.jsonl: 78 examples, 31,063 bytes, to upload
  tokens    about 1,000 × 3 epochs (automatic) = 3,000
            at most 6,000, as they are estimated, not counted
            the tokenizer of m is not known
  cost      $0.01 expected, $0.04 at most (limit $2.00)
  price     OpenAI, $5.00 for a million tokens, as of 2026-11-22 (third party; two tables agree)

  error: it is gone
    Take another.

  warning: it goes soon

Nothing would be sent: 1 error to put right first."""


def test_the_whole_plan() -> None:
    notes = (
        Note(level="warning", text="it goes soon"),
        Note(level="error", text="it is gone", hint="Take another."),
    )
    assert text(plan(notes=notes)) == WHOLE


def test_what_would_happen() -> None:
    file = plan().files["training_file"]
    there = {"training_file": file.model_copy(update={"file_id": "file-1"})}
    two = {"training_file": file, "validation_file": file}
    assert outcome(plan()) == "Would upload 1 file (31,063 bytes) and create a job on openai."
    assert outcome(plan(files=there)) == "Would create a job on openai."
    assert "upload 2 files (62,126 bytes)" in outcome(plan(files=two))
    adopted = plan(adopt="ftjob-1", notes=(Note(level="error", text="t"),), cost=None)
    assert outcome(adopted).startswith("Would adopt job ftjob-1, which has this content")
    assert "there as file-1" in text(plan(files=there))
    assert "to upload" not in text(adopted)
    assert "cost" not in text(adopted)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (cost(), "$0.01 expected, $0.04 at most"),
        (cost(margin=1.0, most_usd=0.015), "$0.01"),
        (cost(usd=0.004, most_usd=0.008), "$0.0040 expected, $0.0080 at most"),
        (cost(usd=None, most_usd=None, unknown="no price"), "not known: no price"),
        (cost(local=True, usd=0.0, most_usd=0.0), "no money: it runs on this machine"),
    ],
)
def test_the_cost_in_words(found: Estimate, words: str) -> None:
    assert cost_in_words(found) == words


def test_why_there_may_be_more_tokens() -> None:
    spec = plan().spec.model_copy(update={"method": "dpo"})
    assert "as they may be billed once for either output" in text(
        plan(spec=spec, cost=cost(exact=True))
    )
    both = text(plan(spec=spec))
    assert "estimated, not counted and may be billed once" in " ".join(both.split())
    assert "at most 3" not in text(plan(cost=cost(exact=True, margin=1.0)))


def test_a_price_that_the_service_says_itself() -> None:
    said = cost(said_by="together", price=None, margin=1.0, most_usd=0.015)
    assert "price     the estimate of together itself" in text(plan(cost=said))


def test_what_was_left_to_the_service() -> None:
    spec = JobSpec(model="m", training_file="train.jsonl")
    lines = text(plan(spec=spec, max_cost=None)).splitlines()
    assert "  settings  automatic" in lines
    assert not any(line.startswith(("  suffix", "  seed", "  metadata")) for line in lines)
    assert "limit" not in text(plan(max_cost=None))


@given(
    words=st.text(max_size=200),
    level=st.sampled_from(["info", "warning", "error"]),
    columns=st.integers(40, 120),
)
@settings(max_examples=100, deadline=None)
def test_nothing_moves_the_cursor_or_leaves_the_page(words: str, level: str, columns: int) -> None:
    note = Note.model_validate({"level": level, "text": f"\x1b[31m{words}", "hint": words})
    name = f"m\x1b]0;title\x07{words}"
    shown = text(
        plan(
            notes=(note,),
            backend=name,
            spec=plan().spec.model_copy(update={"model": name, "metadata": {words: words}}),
        ),
        width=columns,
    )
    assert all(char == "\n" or char.isprintable() or char.isspace() for char in shown if char < "~")
    assert "\x1b" not in shown
    body = shown.splitlines()[2:]
    assert all(width(line) <= columns for line in body)
