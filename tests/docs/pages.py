"""What the documentation holds: code blocks, command lines and links, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: [^\n]+ -->\s*\Z")
COMMAND = re.compile(r"^(?:.*?[|;(] *)?(?:\$ )?(?:[A-Z_]+=\S* )*ftjobs (.*)$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of its fence (from 1).

    A comment right above it, `<!-- not run: why -->`, says that it is compiled and typed only.
    """

    page: Page
    line: int
    language: str
    text: str
    runs: bool


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path from the root of the repository."""
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """Its text."""
        return self.path.read_text("utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        return [
            Block(
                page=self,
                line=self.text.count("\n", 0, match.start()) + 1,
                language=match[2],
                text=re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE),
                runs=NOT_RUN.search(self.text, 0, match.start()) is None,
            )
            for match in FENCE.finditer(self.text)
        ]

    @property
    def prose(self) -> str:
        """Its text without the fenced blocks."""
        return FENCE.sub("", self.text)

    def command_lines(self) -> Iterator[tuple[str, bool]]:
        """What follows `ftjobs` wherever a command is shown, and whether it is a whole line."""
        for block in self.blocks:
            if block.language in ("sh", "console"):
                found = (COMMAND.match(line.strip()) for line in block.text.splitlines())
                yield from ((match[1], True) for match in found if match)
        for span in re.findall(r"`ftjobs ([^`]+)`", self.prose):
            yield span, False

    def links(self) -> Iterator[str]:
        """Where its links within the repository lead."""
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", self.prose)):
            if not re.match(r"[a-z]+:", target):
                yield target

    def anchors(self) -> set[str]:
        """The anchors of its headings."""
        return {
            re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
            for heading in re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        }


PAGES = [Page(path) for path in [*ROOT.glob("README*.md"), *sorted(ROOT.glob("docs/**/*.md"))]]
