"""A folder for `ollama create`: a GGUF file of the merged model, and a Modelfile.

Ollama also takes adapters as safetensors, but only of Llama, Mistral and Gemma models, and lays
them over whichever weights of that name it has itself, mostly quantised ones; and it runs models
of safetensors on its MLX engine alone (its docs/import.mdx).  A GGUF file of the merged model is
what was trained, on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftjobs.backends.local import models
from ftjobs.backends.local.export import card, gguf
from ftjobs.backends.local.export.about import Found, Licence
from ftjobs.backends.local.export.folder import Draft
from ftjobs.backends.local.export.gotemplate import Pieces, pieces_of
from ftjobs.backends.local.export.source import Source, load_tokenizer
from ftjobs.backends.local.sources import Say

_BY_DEFAULT = "llama"
"""llama.cpp's name for sentencepiece, whose models get a start token unless the file says no."""


def write(source: Source, draft: Draft, say: Say, *, outtype: str, command: Sequence[str]) -> Found:
    """Write GGUF file and Modelfile into the draft.  Raises as `gguf.write`."""
    found = gguf.write(source, draft, say, outtype=outtype, command=command)
    tokenizer = load_tokenizer(source)
    pieces: Pieces | None = None
    try:
        header = gguf.read_header(draft.out / found.file)
        pieces = pieces_of(tokenizer, bos=_added(tokenizer, header))
        template = pieces.to_go()
        told = "translated for Ollama, and equal to Jinja's on six conversations"
    except ValueError as error:
        template = ""
        told = f"not translated, Ollama guesses: {error}"
        say(f"The chat template could not be translated for Ollama: {error}")
    stops = [tokenizer.decode([token]) for token in sorted(_stops(source, tokenizer))]
    lines = modelfile(
        found.file,
        template=template,
        system=pieces.system if pieces and template else "",
        stops=stops,
        licence=source.about.licence,
    )
    (draft.out / "Modelfile").write_text(lines, "utf-8")
    return Found({**found.notes, "chat template": told}, file=found.file)


def modelfile(
    file: str, *, template: str, system: str, stops: Sequence[str], licence: Licence | None
) -> str:
    """A Modelfile; a `template` of "" leaves the choice to Ollama, and says so."""
    return "\n".join(_lines(file, template, system, stops, licence)) + "\n"


def _lines(
    file: str, template: str, system: str, stops: Sequence[str], licence: Licence | None
) -> Iterator[str]:
    yield "# ollama create NAME -f Modelfile"
    yield f"FROM ./{file}"
    if template:
        yield f'TEMPLATE """{template}"""'
    else:
        yield "# The model's chat template could not be translated.  Without a TEMPLATE here,"
        yield "# Ollama takes one that it knows: compare what it makes with the model's own."
    if system:
        yield f'SYSTEM """{system}"""'
    for stop in stops:
        yield f"PARAMETER stop {_value(stop)}"
    if licence:
        named = card.line(licence.name or licence.id).replace('"', "'")  # somebody else's words
        yield f'LICENSE """{named}"""'


def _value(text: str) -> str:
    return f'"""{text}"""' if '"' in text or "\n" in text else f'"{text}"'


def _stops(source: Source, tokenizer: Any) -> frozenset[int]:
    return models.stop_ids(tokenizer, source.base.folder)


def _added(tokenizer: Any, header: dict[str, Any]) -> str:
    """The start token, if llama.cpp puts it before every prompt: the template must not, then."""
    adds = header.get(
        "tokenizer.ggml.add_bos_token", header.get("tokenizer.ggml.model") == _BY_DEFAULT
    )
    return str(tokenizer.bos_token or "") if adds else ""
