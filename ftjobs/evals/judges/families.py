"""Families of models, by name: judges favour answers of their own kind."""

from __future__ import annotations

import re

__all__ = ["family_of"]

FAMILIES = {
    "gpt": r"(?:chat)?gpt(?!-?(?:neo|j))|(?<![a-z0-9])o\d(?![a-z0-9])|davinci|babbage",
    "claude": r"claude",
    "gemini": r"gemini|gemma",
    "llama": r"llama",
    "qwen": r"qwen|qwq",
    "mistral": r"(?:mi|mini|magi)stral|mixtral|codestral|devstral",
    "smollm": r"smollm",
    "phi": r"(?<![a-z])phi(?![a-z])",
    "deepseek": r"deepseek",
    "command": r"(?<![a-z])command",
    "grok": r"(?<![a-z])grok",
    "kimi": r"kimi",
    "glm": r"(?<![a-z])glm",
    "granite": r"granite",
    "olmo": r"olmo",
    "nemotron": r"nemotron",
    "falcon": r"falcon",
}
"""A family has one maker, and one line of pre-training or of answers to learn from."""

ANY = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in FAMILIES.items()))


def family_of(model: str) -> str:
    """The family that a model's name tells, such as "gpt"; "" where it tells none.

    A tuned model (`ft:BASE:…`) is of its base's family; what an organisation or a folder is called
    does not count.
    """
    name = model.lower()
    if name.startswith("ft:"):
        name = name.split(":")[1]
    found = ANY.search(name.rpartition("/")[2])
    return str(found.lastgroup) if found else ""
