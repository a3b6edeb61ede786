"""How a model is used, program by program: the part of a card that a reader copies."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftjobs.backends.local.export.about import About, Found


def uses(about: About, form: str, found: Found) -> Iterator[str]:
    """Paragraphs with the commands that fit a model in this form."""
    if form == "checkpoint":
        yield _block("sh", f"ftjobs chat {_quoted(about.name)}")
        yield "`ftjobs models export` writes it for vLLM, transformers, llama.cpp and Ollama."
    elif form == "adapter":
        yield from _adapter(about, found)
    elif form == "merged":
        yield from _merged(about)
    elif form == "gguf":
        yield _block("sh", f"llama-server -m {found.file} --jinja")
    else:
        yield _block("sh", f"ollama create {slug(about)} -f Modelfile\nollama run {slug(about)}")


def slug(about: About) -> str:
    """The model's name as a file or a model of Ollama may be called."""
    name = about.name.removeprefix("ft:").replace(":local:", "-")
    words = re.sub(r"[^a-z0-9._]+", "-", name.rpartition("/")[2].lower()).strip("-._")
    return re.sub(r"--+", "-", words) or "model"


def _adapter(about: About, found: Found) -> Iterator[str]:
    base = about.hub_id or f"path/to/{_quoted(about.base_name)}"
    yield "With PEFT:"
    kind = "Seq2SeqLM" if about.task == "text2text-generation" else "CausalLM"
    yield _block(
        "python",
        f"from peft import PeftModel\nfrom transformers import AutoModelFor{kind}\n\n"
        f"base = AutoModelFor{kind}.from_pretrained({base!r})\n"
        'model = PeftModel.from_pretrained(base, ".")',
    )
    if about.task == "text-generation":
        yield "With vLLM, where it has LoRA for this architecture:"
        yield _block(
            "sh",
            f"vllm serve {base} --enable-lora --max-lora-rank {found.rank} "
            f"--lora-modules {slug(about)}=.",
        )


def _merged(about: About) -> Iterator[str]:
    yield "With transformers:"
    task = about.task or "text-generation"
    if task == "text2text-generation":
        code = (
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
            'model = AutoModelForSeq2SeqLM.from_pretrained(".")\n'
            'tokenizer = AutoTokenizer.from_pretrained(".")'
        )
    else:
        code = f'from transformers import pipeline\n\nmodel = pipeline("{task}", model=".")'
    yield _block("python", code)
    if task == "text-generation":
        yield "With vLLM:"
        yield _block("sh", f"vllm serve . --served-model-name {slug(about)}")


def _block(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def _quoted(name: str) -> str:
    """A name as one word of a shell and of Markdown; those of models hold nothing else."""
    return re.sub(r"[^\w./:-]+", "-", name)
