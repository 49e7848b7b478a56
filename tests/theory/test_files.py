"""Whole or not at all: an error, a full disk and a missing folder leave what was there and nothing beside it."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from crossmodal.theory.errors import InputError
from crossmodal.theory.files import atomic_writer, write_table, write_whole


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = write_whole(tmp_path / "new" / "a.txt", "old")

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_nothing_appears_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with atomic_writer(path) as handle:
        handle.write(b"half")
        assert not path.exists()
    assert path.read_bytes() == b"half"


def test_an_interrupted_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a.bin", b"half")

    def interrupted() -> None:
        with atomic_writer(path) as handle:
            handle.write(b"other")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"half"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"create .*nowhere"), atomic_writer(tmp_path / "nowhere" / "a"):
        pass


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real.txt")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()), daemon=True)
    reader.start()
    write_whole(tmp_path / "pipe", "through")
    assert (tmp_path / "pipe").is_fifo()
    reader.join(10)
    assert found == [b"through"]


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"big\.json"):
        write_whole(tmp_path / "big.json", "x")


def test_tables_have_these_columns_and_plain_line_ends(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", ("a", "b"), [{"a": 1, "b": "x,y"}, {"b": 2.5, "a": "é"}])
    assert path.read_bytes() == 'a,b\n1,"x,y"\né,2.5\n'.encode()
    with pytest.raises(ValueError, match="c"):
        write_table(path, ("a",), [{"a": 1, "c": 2}])
    assert path.read_bytes().startswith(b"a,b")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "file" / "deeper" / "a.txt", "new")


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "a\ud800"])
def test_a_name_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"), atomic_writer(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []
