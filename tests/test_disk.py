from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ftjobs.disk import blocks_of, new_file, write_bytes, write_text, written
from ftjobs.errors import ConfigError, FtjobsError, UnreachableError


def test_a_new_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with new_file(path, force=False, mode=0o640) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def fail(path: Path, error: type[BaseException] | BaseException) -> None:
    with new_file(path, force=False) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UnreachableError("lost")])
def test_an_exception_leaves_nothing_and_stays_what_it_is(
    tmp_path: Path, error: type[BaseException] | BaseException
) -> None:
    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind):
        fail(tmp_path / "out", error)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_spared(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(ConfigError, match="exists already"), new_file(path, force=False):
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    with new_file(path, force=True) as file:
        file.write(b"mine")
    assert path.read_text() == "mine"


def test_what_is_not_wanted_gets_no_name(tmp_path: Path) -> None:
    with new_file(tmp_path / "out", force=False, wanted=lambda: False) as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/out", "zero\0byte"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"out|zero"), new_file(tmp_path / name, force=False):
        pytest.fail("there is no such place")


def test_a_full_disk_is_a_failure_and_leaves_nothing() -> None:
    with pytest.raises(FtjobsError, match="No space left"):
        write_bytes(Path("/dev/full"), b"x" * 100_000)


def test_a_file_is_replaced_whole_through_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o600)
    link.symlink_to(target)
    write_text(link, "neu ü \ud800")
    assert link.is_symlink()
    assert target.read_text("utf-8") == "neu ü ?"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(ConfigError):
        write_text(tmp_path / "missing" / "file", "x")


def test_what_a_killed_run_left_is_not_written_through(tmp_path: Path) -> None:
    path, other = tmp_path / "out", tmp_path / "other"
    other.write_text("theirs")
    (tmp_path / "out.part").symlink_to(other)
    with written(path) as file:
        file.write(b"mine")
    assert (path.read_text(), other.read_text()) == ("mine", "theirs")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "out"]


def test_a_pipe_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="no regular file"):
        next(blocks_of(pipe))


@pytest.mark.parametrize(("name", "words"), [("missing", "cannot read"), (".", "regular file")])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        next(blocks_of(tmp_path / name))


def test_bytes_and_name_are_on_disk_when_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real, synced = tmp_path / "out", os.fsync, list[tuple[str, bool]]()

    def fsync(handle: int) -> None:
        synced.append((str(Path(f"/proc/self/fd/{handle}").readlink()), path.exists()))
        real(handle)

    monkeypatch.setattr("os.fsync", fsync)
    write_bytes(path, b"x")
    (draft, was_there), (folder, is_there) = synced
    assert Path(draft).parent == tmp_path
    assert (was_there, folder, is_there) == (False, str(tmp_path), True)
