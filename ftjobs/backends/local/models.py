"""Names of base models → a folder of safetensors → model, tokenizer and chat template.

A base model is named by the built-in alias `smollm2-135m`, by a local folder, or by a hub id
(`owner/name`).  Only safetensors are ever read, and code from a model folder is never run.
torch and transformers are imported by the functions that load, not by this module.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftjobs.backends.local.families import PROMPT, Family
from ftjobs.backends.local.families import context_length as context_length
from ftjobs.backends.local.families import family as family
from ftjobs.backends.local.families import vocabulary as vocabulary
from ftjobs.backends.local.notices import first_line
from ftjobs.backends.local.notices import quietly as quietly
from ftjobs.backends.local.sources import DEFAULT_MODEL as DEFAULT_MODEL
from ftjobs.backends.local.sources import (
    HUB_ID,
    Say,
    ask_hub,
    cached_snapshot,
    convert,
    converted_folder,
    download,
    fingerprint,
    packaged_gguf,
    require_safetensors,
)
from ftjobs.backends.local.sources import as_folder as as_folder
from ftjobs.errors import ModelError

if TYPE_CHECKING:
    import torch

_PROBES = {"Japanese": "日本語", "emoji": "🙂", "line breaks": "a\nb"}


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
        gguf = packaged_gguf()
        return bool(gguf and (converted_folder(gguf, cache) / "config.json").is_file())
    return as_folder(name) is not None or cached_snapshot(name) is not None


def is_name(name: str) -> bool:
    """True if `name` could be a base model: the alias, an existing folder, or like a hub id."""
    hub_id = re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name)
    return name == DEFAULT_MODEL or bool(hub_id) or as_folder(name) is not None


def require(name: str) -> None:
    """Refuse, quickly and without loading anything, a base model that could not be trained.

    Raises:
        ModelError: no such model, no safetensors in it, or the hub cannot be asked.
    """
    if name == DEFAULT_MODEL and packaged_gguf():
        return
    if folder := as_folder(name):
        require_safetensors(folder, name)
        return
    repo = HUB_ID if name == DEFAULT_MODEL else name
    if not is_name(name):
        raise ModelError(
            f"unknown base model {name!r}",
            hint=f"Use {DEFAULT_MODEL}, a folder with safetensors, or a hub id such as {HUB_ID}.",
        )
    if cached_snapshot(repo) is None:
        ask_hub(name, repo)


def prepare(name: str, cache: Path, say: Say = lambda _line: None) -> BaseModel:
    """Make a base model ready to load: download or convert it once, then find it again.

    Raises:
        ModelError: no such model, no safetensors in it, or it cannot be downloaded.
    """
    gguf = packaged_gguf() if name == DEFAULT_MODEL else None
    if gguf:
        folder = convert(gguf, cache, say)
    elif found := as_folder(name):
        folder = found
    else:
        require(name)
        folder = download(HUB_ID if name == DEFAULT_MODEL else name, say)
    require_safetensors(folder, name)
    short = re.sub(r"[^\w.-]+", "-", Path(name).name) or "model"
    return BaseModel(name, short, folder, fingerprint(folder))


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
        raise ModelError(
            f"the tokenizer in {folder} cannot be loaded: {first_line(error)}"
        ) from None
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
        raise ModelError(f"the model in {folder} cannot be loaded: {first_line(error)}") from None
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
            raise ModelError(f"{path} cannot be read: {first_line(error)}") from None
        ids = listed if isinstance(listed, list) else [listed]
        found |= {each for each in ids if isinstance(each, int) and 0 <= each < len(tokenizer)}
    return frozenset(found)


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
