"""What a directory gives to upload or to stage."""

import os
from pathlib import Path

import pytest

from blocks.domain.errors import InvalidInputError
from blocks.storage.connection import Connection
from blocks.storage.local_files import collect


def keys(directory: Path) -> list[str]:
    return [file.key for file in collect(directory)]


def test_files_are_found_in_order(tmp_path: Path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for name in ("z", "a", "b/c/d", "b.txt"):
        (tmp_path / name).touch()
    assert keys(tmp_path) == ["a", "b.txt", "b/c/d", "z"]


def test_symlinks_inside_are_followed(tmp_path: Path) -> None:
    (tmp_path / "step-3").mkdir()
    (tmp_path / "step-3/weights").write_bytes(b"w")
    (tmp_path / "latest").symlink_to("step-3")
    (tmp_path / "best").symlink_to(tmp_path / "step-3/weights")
    found = collect(tmp_path)
    assert [file.key for file in found] == ["best", "latest/weights", "step-3/weights"]
    assert {file.path for file in found} == {tmp_path / "step-3/weights"}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/etc/passwd", "leads to /etc/passwd"),
        ("../outside", "leaves its directory"),
        ("nowhere", "leads nowhere"),
        (".", "holds it"),
        ("self", "self"),
    ],
)
def test_a_symlink_that_leaves_or_loops_is_refused_with_its_name(tmp_path: Path, target: str, words: str) -> None:
    (tmp_path / "model/sub").mkdir(parents=True)
    (tmp_path / "outside").touch()
    (tmp_path / "model/self").symlink_to(target)
    with pytest.raises(InvalidInputError, match=words) as caught:
        collect(tmp_path / "model")
    assert "self" in str(caught.value)


def test_a_directory_whose_name_only_begins_alike_is_outside(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model-secret").mkdir()
    (tmp_path / "model/link").symlink_to(tmp_path / "model-secret")
    with pytest.raises(InvalidInputError, match="leaves its directory"):
        collect(tmp_path / "model")


def test_pipes_are_refused_with_their_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="pipe"):
        collect(tmp_path)


def test_names_that_no_store_takes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new\nline").touch()
    with pytest.raises(InvalidInputError, match="control character"):
        collect(tmp_path)


def test_names_that_are_no_text_are_refused_in_words_that_can_be_printed(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/bro\xffken"
    os.mkdir(folder)
    os.close(os.open(folder + b"/x\xff", os.O_CREAT))
    with pytest.raises(InvalidInputError) as caught:
        collect(tmp_path)
    str(caught.value).encode()


def test_a_connection_survives_its_mapping_and_hides_its_secret() -> None:
    given = Connection("https://s3", "key", "s3cr3t", "t0k3n", "r", "pem", path_style=False, directory="/mnt")
    assert Connection.from_mapping(given.to_mapping()) == given
    assert Connection.from_mapping(Connection().to_mapping()) == Connection()
    assert "s3cr3t" not in repr(given)
    assert "t0k3n" not in repr(given)
    with pytest.raises(InvalidInputError, match="colour"):
        Connection.from_mapping({"colour": "red"})
