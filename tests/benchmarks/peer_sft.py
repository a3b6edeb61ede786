"""TRL's SFTTrainer with PEFT, or Unsloth's over it, run by the peer's own interpreter: see `train`.

    python peer_sft.py trl|unsloth MODEL ROWS HELD BATCH EPOCHS RATE DTYPE

Prints JSON: the seconds and the loss of each step, the held-out loss, and the memory peak in MiB.
"""

# ruff: noqa: E402 — Unsloth changes what is imported after it

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

UNSLOTH = sys.argv[1] == "unsloth"
if UNSLOTH:
    import unsloth  # type: ignore[import-not-found]  # before transformers, which it changes

import torch
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

from datasets import Dataset  # type: ignore[attr-defined]

LORA = {"r": 16, "lora_alpha": 32}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


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


def model_of(name: str, dtype: str) -> dict[str, Any]:
    """The model and its adapter, as the trainer takes them."""
    if not UNSLOTH:
        adapter = LoraConfig(**LORA, target_modules="all-linear", task_type="CAUSAL_LM")
        return {"model": name, "peft_config": adapter}
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        name, dtype=getattr(torch, dtype), load_in_4bit=False, max_seq_length=2048
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model, **LORA, target_modules=LINEAR, use_gradient_checkpointing=False
    )
    return {"model": model, "processing_class": tokenizer}


def main() -> None:
    name, rows, held, batch, epochs, rate, dtype = sys.argv[2:]
    given = model_of(name, dtype)
    steps = Steps()
    trainer = SFTTrainer(
        args=SFTConfig(
            output_dir=str(Path(rows).parent / "peer"),
            per_device_train_batch_size=int(batch),
            per_device_eval_batch_size=int(batch),
            num_train_epochs=int(epochs),
            learning_rate=float(rate),
            lr_scheduler_type="linear",
            warmup_steps=0,
            bf16=dtype == "bfloat16",
            use_cpu=True,
            gradient_checkpointing=False,
            report_to=[],
            logging_steps=1,
            save_strategy="no",
            model_init_kwargs=None if UNSLOTH else {"dtype": dtype},
            dataset_kwargs={"skip_prepare_dataset": True},
            seed=1,
        ),
        train_dataset=examples(rows),
        eval_dataset=examples(held),
        callbacks=[steps],
        **given,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    loss = trainer.evaluate()["eval_loss"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": steps.seconds, "losses": losses, "held": loss, "peak_mb": peak}))


main()
