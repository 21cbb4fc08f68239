"""What an entry point may leave so that a user without any special right cannot look at it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.launcher.directories import remove_tree
from blocks.launcher.tree import RefusedOutputError, look, written_bytes

NOBODY = 65534


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of somebody who is not root, as whom the test runs."""
    directory = Path(tempfile.mkdtemp(prefix="makerflow-test-"))
    me = os.geteuid()
    if me == 0:
        os.chown(directory, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        (directory / "readable").write_text("1")
        (directory / "sealed").mkdir()
        (directory / "sealed" / "file").write_text("1")
        (directory / "sealed").chmod(0)
        yield directory
    finally:
        os.seteuid(me)
        if os.path.isdir(directory / "sealed"):
            (directory / "sealed").chmod(0o700)
        shutil.rmtree(directory)


def test_a_folder_that_cannot_be_looked_into_is_refused_by_name_and_hides_nothing_else(place: Path) -> None:
    tree = look(place)
    assert [file.key for file in tree.files] == ["readable"]
    assert tree.refused == ["sealed cannot be read (Permission denied)"]


def test_what_can_be_listed_but_not_read_is_refused_by_name(place: Path) -> None:
    (place / "sealed").chmod(0o400)
    (place / "secret").write_text("1")
    (place / "secret").chmod(0)
    (place / "loop").symlink_to("loop")
    tree = look(place)
    assert [file.key for file in tree.files] == ["readable"]
    assert sorted(reason.partition(" ")[0] for reason in tree.refused) == ["loop", "sealed/file", "secret"]


def test_what_cannot_be_looked_into_is_not_counted_and_stops_no_count(place: Path) -> None:
    assert 0 < written_bytes(place) == (place / "readable").stat().st_blocks * 512
    (place / "sealed").chmod(0o400)
    assert written_bytes(place) == (place / "readable").stat().st_blocks * 512


def test_a_folder_that_becomes_a_file_while_one_looks_ends_no_look(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "changing").mkdir()
    scan = os.scandir

    def scan_too_late(folder: str) -> "os._ScandirIterator[str]":
        if os.path.basename(folder) == "changing" and os.path.isdir(folder):
            os.rmdir(folder)
            Path(folder).write_text("1")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scan_too_late)
    assert [file.key for file in look(place).files] == ["readable"]
    assert {file.key for file in look(place).files} == {"readable", "changing"}


def test_what_an_entry_point_sealed_is_removed_with_the_rest(place: Path) -> None:
    (place / "sealed").chmod(0o700)
    (place / "sealed" / "deeper").mkdir()
    (place / "sealed" / "deeper").chmod(0)
    (place / "sealed").chmod(0)
    remove_tree(place / "sealed")
    assert not (place / "sealed").exists()


def test_the_refusal_of_what_cannot_be_read_says_what_it_is(place: Path) -> None:
    with pytest.raises(RefusedOutputError, match=r"The model cannot be uploaded.*sealed cannot be read"):
        look(place).check("The model")
