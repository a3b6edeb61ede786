"""What the documentation shows of a check is what the program prints, word for word."""

from __future__ import annotations

import re
import shlex

import pytest

from ftjobs.cli import main
from tests.docs.pages import PAGES, ROOT

SHOWN = re.compile(r"^\$ ftjobs ((?:data check|explain) .*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
TRANSCRIPTS = [
    pytest.param(command, printed, id=f"{page.name}: {command}")
    for page in PAGES
    for block in page.blocks
    if block.language == "console"
    for command, printed in SHOWN.findall(block.text)
]


@pytest.mark.parametrize(("command", "printed"), TRANSCRIPTS)
def test_what_is_shown_is_printed(
    command: str,
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal of 100 columns without colours, standard error after standard output."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("CI", raising=False)
    for name, value in {"COLUMNS": "100", "TERM": "xterm", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    main(shlex.split(command))
    done = capsys.readouterr()
    assert (done.out + done.err).splitlines() == printed.strip("\n").splitlines()


def test_enough_is_shown() -> None:
    assert len(TRANSCRIPTS) >= 3
