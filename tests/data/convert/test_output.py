"""The file is there whole, or not at all."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ftjobs.data.convert import convert
from ftjobs.errors import ConfigError, DatasetError, FtjobsError

TABLE = "prompt,completion\na,b\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "x.csv"
    path.write_text(TABLE)
    return path


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_a_file_is_never_written_over_unasked(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        convert(source, out)
    assert out.read_text() == "mine"
    assert convert(source, out, force=True).written == 1
    assert out.read_text().startswith('{"messages"')
    assert names(tmp_path) == {"x.csv", "o.jsonl"}


def test_nor_one_that_appears_meanwhile(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    source.write_text(TABLE + "c,d\n" * 600)

    def appear(done: int, total: int) -> None:
        out.write_text("mine")

    with pytest.raises(ConfigError, match="exists already"):
        convert(source, out, progress=appear)
    assert out.read_text() == "mine"
    assert names(tmp_path) == {"x.csv", "o.jsonl"}


def test_an_error_leaves_what_was_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("mine")
    source.write_text(TABLE + 'c,"d\n')
    with pytest.raises(DatasetError):
        convert(source, out, force=True)
    assert out.read_text() == "mine"
    assert names(tmp_path) == {"x.csv", "o.jsonl"}


def test_the_mode_is_that_of_any_new_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    convert(source, tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_source_is_not_the_output(source: Path) -> None:
    with pytest.raises(ConfigError, match="is the source itself"):
        convert(source, source, force=True)
    assert source.read_text() == TABLE


@pytest.mark.parametrize("name", ["gone/o.jsonl", ".", "o.jsonl.gz", "a\0b", "x.csv/o", "n" * 300])
def test_places_that_cannot_be_written(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(FtjobsError):
        convert(source, tmp_path / name)
    assert names(tmp_path) == {"x.csv"}


def test_a_device_is_no_place(source: Path) -> None:
    with pytest.raises(ConfigError, match="not a regular file"):
        convert(source, "/dev/null", force=True)


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    """The limit on a file's size makes the system refuse a write, as a full disk does."""
    source.write_text("prompt,completion\n" + f"a,{'b' * 1000}\n" * 5000)
    code = (
        "import resource, signal, sys\n"
        "from ftjobs.data.convert import convert\n"
        "from ftjobs.errors import FtjobsError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))\n"
        "try: convert(sys.argv[1], sys.argv[2])\n"
        "except FtjobsError as error: print(error)\n"
    )
    out = tmp_path / "o.jsonl"
    command = [sys.executable, "-B", "-c", code, str(source), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{out}: File too large")
    assert names(tmp_path) == {"x.csv"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2**20


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_ended_leaves_no_file_of_that_name(
    tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "o.jsonl"
    code = (
        "import sys\nfrom ftjobs.data.convert import convert\n"
        "print('ready', flush=True)\nconvert('-', sys.argv[1], format='csv')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"prompt,completion\n" + (b"a," + b"b" * 2000 + b"\n") * 1500)
        process.stdin.flush()
        while not any(file.stat().st_size for file in tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(timeout=20) != 0
    left = names(tmp_path)
    assert all(name.startswith(".ftjobs-") for name in left)
    assert number == signal.SIGKILL or not left


def test_progress_comes_to_its_end(source: Path, tmp_path: Path) -> None:
    source.write_text(TABLE + "c,d\n" * 2000)
    seen: list[tuple[int, int]] = []
    convert(source, None, progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert seen == sorted(seen)
    assert all(0 < done <= total == source.stat().st_size for done, total in seen)


def test_places_are_bounded_and_counts_are_not(source: Path) -> None:
    source.write_text(TABLE + "c,\n" * 2000)
    report = convert(source, None, max_places=3)
    (tally,) = report.dropped
    assert (tally.count, len(tally.places)) == (2000, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "yaml"}, "unknown format 'yaml'"),
        ({"format": "sharegpt", "columns": {"prompt": "a", "completion": "b"}}, "no columns"),
    ],
)
def test_options_that_cannot_be_used(
    source: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(source, None, **options)  # type: ignore[arg-type]
