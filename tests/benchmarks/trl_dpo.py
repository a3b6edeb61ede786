"""What TRL's DPOTrainer makes of given pairs and a given adapter; run by TRL's own interpreter.

python trl_dpo.py REQUEST ANSWER    # two JSON files; `dpo.py` says what is in them
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer  # type: ignore[import-not-found]

from datasets import Dataset  # type: ignore[attr-defined]

REWARDS = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")


def main(request: Path, answer: Path) -> None:
    asked = json.loads(request.read_text("utf-8"))
    torch.set_num_threads(asked["threads"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(asked, folder)
        rows = [trainer.train_dataset[index] for index in range(len(asked["rows"]))]
        found: dict[str, Any] = {
            "ids": [[row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]] for row in rows]
        }
        with torch.no_grad():
            found["pairs"] = [measured(trainer, [row]) for row in rows]
        found["batch"] = measured(trainer, rows)
    found["gradient"] = {
        name: parameter.grad.norm().item()
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }
    answer.write_text(json.dumps(found), "utf-8")


def trainer_of(asked: dict[str, Any], folder: str) -> Any:
    """With the adapter as it was saved, and the base, adapter off, as its reference."""
    adapter = LoraConfig.from_pretrained(asked["adapter"])
    adapter.inference_mode = False  # as every adapter is saved
    model = AutoModelForCausalLM.from_pretrained(asked["model"], dtype=torch.float32)
    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=folder, beta=asked["beta"], max_length=None, report_to=[], use_cpu=True,
            bf16=False, gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(asked["rows"]),
        processing_class=AutoTokenizer.from_pretrained(asked["model"]),
        peft_config=adapter,
    )  # fmt: skip
    weights = load_file(Path(asked["adapter"]) / "adapter_model.safetensors")
    set_peft_model_state_dict(trainer.model, weights)
    return trainer


def measured(trainer: Any, rows: list[Any]) -> dict[str, float]:
    """Loss and rewards of one batch, as the trainer computes and reports them."""
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    if loss.requires_grad:
        loss.backward()
    reported = trainer._metrics["train"]  # its logs are rounded
    return {"loss": loss.item(), **{name: reported[name][-1] for name in REWARDS}}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
