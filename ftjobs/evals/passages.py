"""A folder of documents → passages of about 800 characters, always the same ones.

Read are text (.txt, .rst), Markdown (.md, .markdown), HTML (.html, .htm; its text alone) and
JSON Lines (.jsonl), of which each line is a document: its `text` or `content`, or the turns of a
chat example, so that a training file can be searched instead of trained on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftjobs.disk import readable, stamp_of
from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals.answers import prompt_id
from ftjobs.evals.pagetext import text_of_page
from ftjobs.evals.promptrow import WrongRow, prompt_of, text_in, without_system
from ftjobs.evals.prompts import rows_in

__all__ = ["ENDINGS", "LENGTH", "Passage", "cut", "read_passages"]

LENGTH = 800
"""Characters of a passage at most; a heading stays with what follows it, and comes on top."""

HEADING = 120
"""Characters of a heading at most; what is longer just begins with a #."""

MOST_BYTES = 32 * 2**20
MOST_FILES = 10_000
ENDINGS = (".txt", ".rst", ".md", ".markdown", ".html", ".htm", ".jsonl")


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document.

    Attributes:
        name: the document's path within the folder.
        asked: `prompt_id` of the question, if the document is a chat example that answers one.
    """

    name: str
    text: str
    asked: str | None = None


def read_passages(
    place: str | Path, *, leave_out: Iterable[Path] = ()
) -> tuple[list[Passage], int]:
    """The passages of a folder or of one file, in the order of their names, and of how many files.

    Hidden files and folders are left out, as are files of other kinds, those that hold zero
    bytes, and links that lead out of the folder.

    Args:
        place: the folder, or a file of one of the kinds above.
        leave_out: files in the folder that are no documents, such as the prompts to be answered.

    Raises:
        ConfigError: there is no such place or no text in it, it is too large, or a file cannot
            be read or is not UTF-8.
        DatasetError: a line of a .jsonl file is no document.
    """
    place = Path(place)
    found: list[Passage] = []
    files = size = text = 0  # compressed, a file of few bytes may hold very many
    others = {path.resolve() for path in leave_out} if place.is_dir() else set()
    for path, name in _files(place):
        if path.resolve() in others:
            continue
        _require_little(place, size := size + stamp_of(path)[0])
        before = len(found)
        for passage in _passages(path, name):
            found.append(passage)
            text += len(passage.text)
            _require_little(place, text)
        files += len(found) > before
    if not found:
        kinds = ", ".join(ENDINGS)
        raise ConfigError(f"{place}: no document with a text in it", hint=f"Read are {kinds}.")
    return found, files


def _require_little(place: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise ConfigError(
            f"{place}: more than {MOST_BYTES // 2**20} MiB of documents",
            hint="Give a folder with only what the questions are about.",
        )


def _files(place: Path) -> Iterator[tuple[Path, str]]:
    """Each document with its name, in an order that no file system decides."""
    if place.is_file():
        yield place, _printable(place.name)
        return
    if not place.is_dir():
        raise ConfigError(f"{place}: no such folder", hint="Name a folder of documents.")
    paths = sorted(_inside(place), key=lambda path: path.relative_to(place).parts)
    for path in paths:
        yield path, _printable(path.relative_to(place).as_posix())


def _inside(folder: Path) -> Iterator[Path]:
    count = 0
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if name.startswith(".") or path.suffix.lower() not in ENDINGS:
                continue
            if not path.is_file() or not path.resolve().is_relative_to(root):
                continue
            count += 1
            if count > MOST_FILES:
                raise ConfigError(f"{folder}: more than {MOST_FILES:,} documents")
            yield path


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name)


# --- kinds of documents -----------------------------------------------------------------------


def _passages(path: Path, name: str) -> Iterator[Passage]:
    if path.suffix.lower() == ".jsonl":
        yield from _rows(path, name)
        return
    with readable(path):
        data = path.read_bytes()
    if b"\0" in data:
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8", hint="Save it as UTF-8, or leave it out.") from None
    if path.suffix.lower() in (".html", ".htm"):
        text = text_of_page(text)
    yield from (Passage(name, piece) for piece in cut(text))


def _rows(path: Path, name: str) -> Iterator[Passage]:
    for line, row in rows_in(path):
        try:
            text, asked = _text_of_row(row)
        except WrongRow as wrong:
            raise DatasetError(
                f"{path}:{line}: {wrong.args[0]}",
                hint='A line is {"text": "..."}, or an example of a chat dataset.',
            ) from None
        yield from (Passage(name, piece, asked) for piece in cut(text))


def _text_of_row(row: Mapping[str, Any] | WrongRow) -> tuple[str, str | None]:
    """(text, what was asked) of a row."""
    if isinstance(row, WrongRow):
        raise row
    for key in ("text", "content"):
        if isinstance(row.get(key), str):
            return str(row[key]), None
    prompt = prompt_of(row)
    turns = without_system(prompt.messages)
    said = [f"{message.role}: {text_in(message)}" for message in turns]
    answer = [f"assistant: {prompt.expected}"] if prompt.expected else []
    return "\n".join([*said, *answer]), prompt_id(turns)


# --- cutting ----------------------------------------------------------------------------------

_PARAGRAPHS = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s)|[。！？\n]|\Z)\s*", re.DOTALL)


def cut(text: str) -> Iterator[str]:
    """The passages of a text: whole paragraphs where they fit, else sentences, else characters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    paragraphs = (part.strip() for part in _PARAGRAPHS.split(text))
    pieces = (piece for part in paragraphs for piece in _short(part) if piece)
    pack: list[str] = []
    size = 0
    for piece in pieces:
        is_bare = len(pack) == 1 and _is_heading(pack[0])
        if pack and size + len(piece) > LENGTH and not is_bare:
            heading = [pack.pop()] if len(pack) > 1 and _is_heading(pack[-1]) else []
            yield "\n\n".join(pack)
            pack, size = heading, sum(map(_size, heading))
        pack.append(piece)
        size += _size(piece)
    if pack:
        yield "\n\n".join(pack)


def _size(piece: str) -> int:
    return len(piece) + 2  # with the empty line behind it


def _is_heading(piece: str) -> bool:
    return piece.startswith("#") and "\n" not in piece and len(piece) <= HEADING


def _short(paragraph: str) -> Iterator[str]:
    """A paragraph as pieces of at most `LENGTH` characters."""
    pack = ""
    for part in _parts(paragraph):
        if len(pack) + len(part.rstrip()) > LENGTH:
            yield pack.rstrip()
            pack = ""
        pack += part
    yield pack.rstrip()


def _parts(paragraph: str) -> Iterator[str]:
    """Its sentences, each with the white space behind it; of one too long, its characters."""
    if len(paragraph) <= LENGTH:
        yield paragraph
        return
    for found in _SENTENCE.finditer(paragraph):
        sentence = found.group()
        for at in range(0, len(sentence), LENGTH):
            yield sentence[at : at + LENGTH]
