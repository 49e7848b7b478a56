"""Whole or not at all: an error, a full disk and a missing folder leave what was there and nothing beside it."""

from __future__ import annotations

import os
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
