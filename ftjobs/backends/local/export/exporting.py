"""From a model's name to a folder: what is asked for is looked at first, and written last."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ftjobs.backends.base import FORMS, Exported, Form
from ftjobs.backends.local import openmp
from ftjobs.backends.local.export import card
from ftjobs.backends.local.export.folder import Draft, whole
from ftjobs.backends.local.export.outtypes import DTYPES, OUTTYPES
from ftjobs.backends.local.sources import Say
from ftjobs.backends.local.store import Store
from ftjobs.errors import ConfigError

if TYPE_CHECKING:
    from ftjobs.backends.local.export.about import Found
    from ftjobs.backends.local.export.source import Source

Write = Callable[["Source", Draft], "Found"]


def export(
    store: Store,
    cache: Path,
    model: str,
    folder: Path,
    *,
    form: Form,
    dtype: str | None = None,
    outtype: str | None = None,
    llama_cpp: Path | None = None,
    force: bool = False,
    say: Say = lambda _line: None,
) -> Exported:
    """Write a model for other programs; see `backends.base.Exports`."""
    _require_fitting(form, dtype=dtype, outtype=outtype, llama_cpp=llama_cpp)
    openmp.prepare_this_process()
    from ftjobs.backends.local.export import source as sources

    source = sources.find(store, cache, model, say)
    needed, write = _writer(source, form, dtype, outtype, llama_cpp, say)
    facts = {"model": source.about.name, "form": form, "base": source.about.base_name}
    with whole(folder, force=force, needed=needed, facts=facts) as draft:
        found = write(source, draft)
        card.write(draft.out, source.about, form, found)
        files = draft.files()
    return Exported(model, form, folder, files, found.notes)


def _require_fitting(
    form: str, *, dtype: str | None, outtype: str | None, llama_cpp: Path | None
) -> None:
    """Refuse what a form does not have, and values that nothing has.  ConfigError."""
    _require(form, FORMS, "form")
    if dtype is not None:
        _require(dtype, DTYPES, "dtype")
    if outtype is not None:
        _require(outtype, OUTTYPES, "outtype")
    of_gguf = {"outtype": outtype, "llama_cpp": llama_cpp}
    others: Mapping[str, Mapping[str, object]] = {
        "merged": of_gguf,
        "gguf": {"dtype": dtype},
        "ollama": {"dtype": dtype},
    }
    for name, value in others.get(form, {"dtype": dtype, **of_gguf}).items():
        if value is not None:
            raise ConfigError(f"the form {form!r} has no {name}", hint="Leave it out.")


def _require(value: str, known: Collection[str], name: str) -> None:
    if value not in known:
        raise ConfigError(f"no {name} {value!r}", hint=f"There are: {', '.join(known)}.")


def _writer(
    source: Source,
    form: Form,
    dtype: str | None,
    outtype: str | None,
    llama_cpp: Path | None,
    say: Say,
) -> tuple[int, Write]:
    """How many bytes a form needs, and what writes it."""
    from ftjobs.backends.local.export import adapter, gguf, merged, ollama

    if form == "adapter":
        return adapter.needed(source), lambda s, draft: adapter.write(s, draft.out, say)
    if form == "merged":
        needed = merged.needed(source, dtype)
        return needed, lambda s, draft: merged.write(s, draft.out, say, dtype=dtype)
    gguf.require(source)
    command = gguf.converter(llama_cpp)
    kind = gguf.outtype_of(source, outtype)
    module = gguf if form == "gguf" else ollama
    return gguf.needed(source, kind), lambda s, draft: module.write(
        s, draft, say, outtype=kind, command=command
    )
