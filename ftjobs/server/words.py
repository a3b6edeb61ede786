"""Words that leave the server: names instead of the folders that they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftjobs.errors import FtjobsError

__all__ = ["Words", "is_name"]


def is_name(model: str) -> bool:
    """Whether a base model's name can be no path on this machine."""
    return not re.match(r"[./\\~]|[A-Za-z]:[/\\]", model) and "\0" not in model


class Words:
    """What clients read instead of paths.

    Args:
        models: folders of base models by the names that clients use.
        home: the server's own folder.
    """

    def __init__(self, models: Mapping[str, str], home: Path) -> None:
        self._names = {path: name for name, path in models.items()}
        resolved = {str(Path(path).resolve()): name for path, name in self._names.items()
                    if not is_name(path)}  # fmt: skip
        instead = {**self._names, **resolved, str(home): "…", str(home.resolve()): "…"}
        longest = sorted((each for each in instead if "/" in each or "\\" in each), key=len)
        self._instead = instead
        paths = "|".join(re.escape(each) for each in reversed(longest))
        self._paths = re.compile(rf"(?<!\w)(?:{paths})(?![\w~+@-]|\.\w)")  # whole folders

    def model(self, name: str) -> str:
        """A base model as clients know it."""
        if (known := self._names.get(name) or self._instead.get(name)) is not None:
            return known
        return name if is_name(name) else Path(name).name

    def plain(self, text: str) -> str:
        """A text without the server's folders."""
        return self._paths.sub(lambda found: self._instead[found[0]], text)

    def plainly(self, value: Any) -> Any:
        """The same for the texts in a JSON value."""
        if isinstance(value, str):
            return self.plain(value)
        if isinstance(value, Mapping):
            return {key: self.plainly(each) for key, each in value.items()}
        return [self.plainly(each) for each in value] if isinstance(value, list | tuple) else value

    @contextmanager
    def used(self) -> Iterator[None]:
        """Errors say them."""
        try:
            yield
        except FtjobsError as error:
            error.message, error.hint = self.plain(error.message), self.plain(error.hint)
            raise
