"""TRL's SFTTrainer with PEFT, run by its own interpreter: see `train`.

    python trl_sft.py MODEL ROWS HELD BATCH EPOCHS RATE DTYPE

Prints JSON: seconds and non-padding tokens of each step, the held-out loss, and the memory peak.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

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
    model, rows, held, batch, epochs, rate, dtype = sys.argv[1:]
    torch.set_num_threads(torch.get_num_threads())
    steps = Steps()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(Path(rows).parent / "trl"),
            per_device_train_batch_size=int(batch),
            per_device_eval_batch_size=int(batch),
            num_train_epochs=int(epochs),
            learning_rate=float(rate),
            lr_scheduler_type="linear",
            warmup_steps=0,
            bf16=dtype == "bfloat16",
            use_cpu=True,
            max_length=None,
            gradient_checkpointing=False,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            model_init_kwargs={"dtype": dtype},
            dataset_kwargs={"skip_prepare_dataset": True},
            seed=1,
        ),
        train_dataset=examples(rows),
        eval_dataset=examples(held),
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[steps],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = trainer.evaluate()["eval_loss"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": steps.seconds, "losses": losses, "held": loss, "peak_mb": peak}))


main()
