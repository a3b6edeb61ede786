import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.cli.show import progress_bar, size, span, when


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (192, "3 min 12 s"),
        (7500, "2 h 5 min"),
        (3600, "1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_span(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_when() -> None:
    assert when(1_795_315_508) == "2026-11-22T02:45:08Z"
    assert when(None) == ""
    assert when(10**18) == str(10**18)


@given(st.integers(0, 10**15))
def test_size(count: int) -> None:
    number, unit = size(count).split()
    factor = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert float(number) * factor == pytest.approx(count, abs=0.05 * factor)


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("CI", "1"), ("TERM", "xterm")])
def test_a_bar_is_drawn_only_where_lines_can_be_redrawn(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    with progress_bar("Uploading") as move:
        move(1, 2)
    assert bool(terminal.getvalue()) == (value == "xterm")
