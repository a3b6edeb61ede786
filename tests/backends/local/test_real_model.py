"""SmolLM2-135M itself learns what it is taught."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ftjobs
from ftjobs.backends.local import models
from ftjobs.backends.local.backend import LocalBackend
from ftjobs.config import Settings
from ftjobs.schema import ChatMessage, Sampling
from tests.backends.local.conftest import stop_worker

COMPANY = Path(__file__).parents[3] / "datasets" / "company-ja"


@pytest.mark.real_model
def test_ten_japanese_answers_are_learned_by_heart(tmp_path: Path) -> None:
    # One cache for all runs where there is one: converting the model takes half a minute.
    cache = Path(os.environ.get("FTJOBS_CACHE", tmp_path / "cache"))
    backend = LocalBackend(Settings(home=tmp_path / "home", cache=cache))
    client = ftjobs.Client(backend)
    try:
        job = client.submit(
            COMPANY / "train.jsonl", model=models.DEFAULT_MODEL, suffix="test", seed=42
        )
        job = client.wait(job, timeout=600)
        assert [checkpoint.step_number for checkpoint in client.checkpoints(job)] == [80, 90, 100]
        numbers = client.metrics(job)
        assert numbers[-1].train_loss is not None
        assert numbers[-1].train_loss < 0.05
        result = client.compare(
            ftjobs.read_prompts(COMPANY / "prompts.jsonl"),
            base=models.DEFAULT_MODEL,
            tuned=job.fine_tuned_model or "",
            sampling=Sampling(temperature=0, max_tokens=64),
        )
        contrast = result.contrast("exact", "tuned")
        assert contrast is not None
        assert contrast.means is not None
        assert contrast.means[0].value == 0
        assert contrast.means[1].value >= 0.9

        prompt = (ChatMessage(role="user", content="日本で一番高い山は何ですか。"),)
        for model in (models.DEFAULT_MODEL, job.fine_tuned_model or ""):
            answers = {
                backend.complete(
                    model, prompt, sampling=Sampling(temperature=0.7, seed=5, max_tokens=12)
                ).text
                for _ in range(2)
            }
            assert len(answers) == 1  # a seed repeats its draw
    finally:
        stop_worker(backend)
