import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.cli.show import progress_bar, size, span, transfer, when


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


@pytest.mark.parametrize(
    ("done", "total", "moved", "seconds", "words"),
    [
        (0, 0, 0, 0.0, "0 B"),
        (500, 2000, 500, 0.5, "500 B of 2.0 KB"),
        (500_000, 2_000_000, 500_000, 5.0, "500.0 KB of 2.0 MB, 100.0 KB/s, 15 s left"),
        (1_500_000, 2_000_000, 500_000, 5.0, "1.5 MB of 2.0 MB, 100.0 KB/s, 5 s left"),
        (2_000_000, 2_000_000, 500_000, 5.0, "2.0 MB of 2.0 MB, 100.0 KB/s"),
    ],
)
def test_how_far_a_transfer_is(
    done: int, total: int, moved: int, seconds: float, words: str
) -> None:
    assert transfer(done, total, moved, seconds) == words


def test_a_long_transfer_is_told_where_no_bar_can_be_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftjobs.cli.show.EVERY", 0.0)
    with progress_bar("Uploading", in_bytes=True) as move:
        move(1, 2)
        move(2, 2)
        move(1, 3)  # the next file
    assert capsys.readouterr().err.splitlines() == [
        "Uploading: 1 B of 2 B",
        "Uploading: 2 B of 2 B",
        "Uploading: 1 B of 3 B",
    ]
    monkeypatch.setattr("ftjobs.cli.show.EVERY", 10.0)
    with progress_bar("Uploading", in_bytes=True) as move:
        move(1, 2)
    assert capsys.readouterr().err == ""
