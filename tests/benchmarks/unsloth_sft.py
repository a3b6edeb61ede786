"""Unsloth's trainer on a CPU, run by its own interpreter: see `train`.

    python unsloth_sft.py MODEL ROWS HELD BATCH EPOCHS RATE DTYPE

Prints what `trl_sft` prints.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

# isort: off
import unsloth  # type: ignore[import-not-found]  # noqa: F401 — before transformers, which it changes

# isort: on
import torch
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]
from unsloth import FastLanguageModel

from datasets import Dataset  # type: ignore[attr-defined]


class Steps(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.began = 0.0
        self.seconds: list[float] = []

    def on_step_begin(self, *_args: Any, **_more: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *_args: Any, **_more: Any) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def examples(path: str) -> Any:
    """Token ids and labels, as ftjobs rendered them: equal work."""
    rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    return Dataset.from_list([{"input_ids": row["ids"], "labels": row["labels"]} for row in rows])


def main() -> None:
    name, rows, held, batch, epochs, rate, dtype = sys.argv[1:]
    model, tokenizer = FastLanguageModel.from_pretrained(
        name, dtype=getattr(torch, dtype), load_in_4bit=False, max_seq_length=2048
    )
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, use_gradient_checkpointing=False,
        target_modules=[
            "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
        ],
    )  # fmt: skip
    steps = Steps()
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(
            output_dir=str(Path(rows).parent / "unsloth"),
            per_device_train_batch_size=int(batch),
            per_device_eval_batch_size=int(batch),
            num_train_epochs=int(epochs),
            learning_rate=float(rate),
            lr_scheduler_type="linear",
            warmup_steps=0,
            bf16=dtype == "bfloat16",
            use_cpu=True,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            dataset_kwargs={"skip_prepare_dataset": True},
            seed=1,
        ),
        train_dataset=examples(rows),
        eval_dataset=examples(held),
        callbacks=[steps],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = trainer.evaluate()["eval_loss"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": steps.seconds, "losses": losses, "held": loss, "peak_mb": peak}))


main()
