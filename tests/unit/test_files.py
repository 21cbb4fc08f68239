"""Files that are replaced in one step; what a crash of the machine leaves is told by what was asked of the kernel."""

import errno
import os
from pathlib import Path

import pytest

from blocks.files import replace_file
from blocks.gateway.front_door import write_private


def test_what_is_written_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        asked.append(f"fsync {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def noted_replace(draft: str, file: Path) -> None:
        asked.append("replace")
        replace(draft, file)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_private(tmp_path / "file", "é")
    replace_file(tmp_path / "file", "x", durable=False)
    assert asked == ["fsync 2", "replace", "replace"]


def test_a_disk_that_is_full_leaves_the_file_that_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(tmp_path / "file", "before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(tmp_path / "file", "after")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["before"]


def test_a_private_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert write_private(tmp_path / "file", "secret").stat().st_mode & 0o777 == 0o600
