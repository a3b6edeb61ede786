"""Folders that are there whole or not at all, and never in the place of anything else."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError

from ftjobs.backends.local.export import folder as folders
from ftjobs.backends.local.export.folder import size, watched, whole
from ftjobs.errors import ConfigError, FtjobsError


def write(target: Path, text: str = "new", *, force: bool = False, needed: int = 0) -> None:
    with whole(target, force=force, needed=needed, facts={"form": "merged"}) as draft:
        (draft.work / "scratch").write_text("scratch")
        (draft.out / "model").write_text(text)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_with_a_note_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b")
    assert left(tmp_path / "a") == ["b"]
    assert left(tmp_path / "a" / "b") == ["ftjobs.json", "model"]
    note = json.loads((tmp_path / "a" / "b" / "ftjobs.json").read_text())
    assert note == {"form": "merged", "files": {"model": 3}}


def test_others_may_read_weights_as_they_may_read_all_files(tmp_path: Path) -> None:
    with whole(tmp_path / "out", force=False, needed=0, facts={}) as draft:
        (draft.out / "weights").touch(0o600)
        (draft.out / "card").touch()
    modes = {path.stat().st_mode for path in (tmp_path / "out").iterdir()}
    assert len(modes) == 1


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert "model" in left(tmp_path / "out")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_stays_of_what_was_interrupted(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with whole(tmp_path / "out", force=False, needed=0, facts={}) as draft:
            (draft.out / "half").write_text("half")
            raise error

    with pytest.raises(error):
        interrupted()
    assert left(tmp_path) == []


def test_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with (
        pytest.raises(FtjobsError, match="No space left"),
        whole(tmp_path / "out", force=True, needed=0, facts={}),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (tmp_path / "out" / "model").read_text() == "old"
    assert left(tmp_path) == ["out"]


def test_an_export_is_replaced_only_by_force(tmp_path: Path) -> None:
    write(tmp_path / "out", "old")
    with pytest.raises(ConfigError, match="exists already") as caught:
        write(tmp_path / "out")
    assert "--force" in caught.value.hint
    write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "model").read_text() == "new"
    assert left(tmp_path) == ["out"]


def test_force_never_removes_what_no_export_wrote(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("all of it")
    with pytest.raises(ConfigError, match="no export of ftjobs"):
        write(home, force=True)
    (home / "ftjobs.json").write_text("[]")
    with pytest.raises(ConfigError, match="no export of ftjobs"):
        write(home, force=True)
    write(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds 'notes.txt'"):
        write(tmp_path / "out", force=True)
    assert left(home) == ["ftjobs.json", "thesis.txt"]


def test_what_came_in_between_is_not_replaced(tmp_path: Path) -> None:
    def raced() -> None:
        with whole(tmp_path / "out", force=False, needed=0, facts={}):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").write_text("theirs")

    with pytest.raises(ConfigError, match="exists already"):
        raced()
    assert left(tmp_path / "out") == ["theirs"]
    assert left(tmp_path) == ["out"]


@pytest.mark.parametrize("force", [True, False])
def test_a_file_is_in_the_way(tmp_path: Path, force: bool) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError):
        write(tmp_path / "file", force=force)
    with pytest.raises(ConfigError):
        write(tmp_path / "file" / "below", force=force)
    with pytest.raises(ConfigError, match="zero byte"):
        write(Path("a\0b"), force=force)
    assert left(tmp_path) == ["file"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert "model" in left(tmp_path / "real")


def test_room_is_looked_for_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(FtjobsError, match=r"needs 1000000000\.0 GB and the disk has"):
        write(tmp_path / "out", needed=10**18)
    assert left(tmp_path) == []


def test_a_rename_that_fails_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "out" and self.parent != tmp_path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(FtjobsError):
        write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "model").read_text() == "old"


def test_ctrl_c_between_two_renames_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "out", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        found = rename(self, target)
        if target.name == "replaced":
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "model").read_text() == "old"


def test_a_folder_in_the_folder_belongs_to_the_export(tmp_path: Path) -> None:
    for force in (False, True):
        with whole(tmp_path / "out", force=force, needed=0, facts={}) as draft:
            (draft.out / "inner").mkdir()
            (draft.out / "inner" / "tool_use.jinja").write_text("x")
    note = json.loads((tmp_path / "out" / "ftjobs.json").read_text())
    assert note["files"] == {"inner/tool_use.jinja": 1}
    (tmp_path / "out" / "inner" / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="holds 'inner/mine'"):
        write(tmp_path / "out", force=True)


def test_nobody_stands_in_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ConfigError, match="it is the current folder"):
        write(Path())
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "disk")
    (tmp_path / "disk").mkdir()
    with pytest.raises(ConfigError, match="a disk is mounted there"):
        write(tmp_path / "disk")
    write(Path("out"))
    assert "model" in left(tmp_path / "here" / "out")


def test_a_full_disk_is_told_in_the_words_of_safetensors_too(tmp_path: Path) -> None:
    with (
        pytest.raises(FtjobsError, match="No space left"),
        whole(tmp_path / "out", force=False, needed=0, facts={}),
    ):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    assert left(tmp_path) == []


def test_a_long_write_is_followed(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "part").write_bytes(b"x" * 1500)
    with watched(tmp_path, 3_000_000, lines.append, every=0.01):
        deadline = time.monotonic() + 10
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lines[0] == "1.5 KB of about 3.0 MB written"
    count = len(lines)
    time.sleep(0.05)
    assert len(lines) == count


def test_sizes_are_words() -> None:
    assert [size(n) for n in (0, 999, 1000, 2_500_000, 4 * 10**12)] == [
        "0 B", "999 B", "1.0 KB", "2.5 MB", "4000.0 GB",
    ]  # fmt: skip
    assert folders.NOTE == "ftjobs.json"
