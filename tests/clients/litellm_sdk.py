"""LiteLLM's SDK: files, a job and chat, with `api_base` alone.

python litellm_sdk.py MODEL TRAIN
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import litellm

HOW: dict[str, Any] = {
    "custom_llm_provider": "openai",
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": os.environ["OPENAI_API_KEY"],
}


def main(model: str, train: str) -> None:
    data = Path(train).read_bytes()
    file = litellm.create_file(file=("train.jsonl", data), purpose="fine-tune", **HOW)
    assert file.bytes == len(data)
    assert file.id in [each.id for each in litellm.file_list(**HOW)]
    assert litellm.file_retrieve(file.id, **HOW).filename == "train.jsonl"
    assert litellm.file_content(file.id, **HOW).content == data
    job = litellm.create_fine_tuning_job(
        model=model, training_file=file.id, hyperparameters={"n_epochs": 2}, suffix="litellm", **HOW
    )
    assert job.status in ("validating_files", "queued")
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.2)
        job = litellm.retrieve_fine_tuning_job(fine_tuning_job_id=job.id, **HOW)
    assert job.status == "succeeded", job.error
    jobs = litellm.list_fine_tuning_jobs(limit=10, **HOW)
    assert job.id in [each.id for each in jobs.data]
    chat(f"openai/{model}")
    chat(f"openai/{job.fine_tuned_model}")
    other = litellm.create_fine_tuning_job(model=f"openai/{model}", training_file=file.id, **HOW)
    cancelled = litellm.cancel_fine_tuning_job(fine_tuning_job_id=other.id, **HOW)
    assert cancelled.status == "cancelled"
    assert litellm.file_delete(file.id, **HOW).deleted


def chat(model: str) -> None:
    how: dict[str, Any] = {
        "model": model, "temperature": 0, "max_tokens": 12, "api_base": HOW["api_base"],
        "api_key": HOW["api_key"], "messages": [{"role": "user", "content": "Where is my parcel?"}],
    }  # fmt: skip
    whole = litellm.completion(**how)
    pieces = list(litellm.completion(**how, stream=True))
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content
    assert whole.usage.completion_tokens > 0


if __name__ == "__main__":
    main(*sys.argv[1:])
