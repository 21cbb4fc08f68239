"""Copies between any two stores, and listings, as `makerflow storage` does them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.domain.errors import InputMissingError, InvalidInputError, StorageUnavailableError
from blocks.domain.paths import Scheme, StoragePath
from blocks.storage.base import Storage
from blocks.storage.connection import Connection
from blocks.storage.local_files import collect
from blocks.storage.open import open_storage
from blocks.storage.transfer import copy
from tests.contract.storage_contract import CONTENT, PATIENCE, tree
from tests.doubles.fault_proxy import FaultProxy, busy

Open = Callable[[StoragePath], Storage]
Make = Callable[[str], StoragePath]


@pytest.fixture
def open_any(connection: Connection, tmp_path: Path) -> Open:
    (tmp_path / "nas").mkdir()
    nas = Connection(directory=str(tmp_path / "nas"))
    return lambda path: open_storage(path, nas if path.scheme is Scheme.NAS else connection, PATIENCE)


@pytest.fixture
def make(bucket: str, tmp_path: Path, proxy: FaultProxy) -> Make:
    """The path of a name in each kind of store."""
    roots = {"s3": f"s3://{bucket}", "obs": f"obs://{proxy.address}/{bucket}", "nas": "nas://n:"}
    roots["file"] = f"file://{tmp_path}/files"
    return lambda where: StoragePath.parse(f"{roots[where.partition(':')[0]]}/{where.partition(':')[2]}")


def fill(open_any: Open, place: StoragePath, tmp_path: Path) -> None:
    for key, data in CONTENT.items():
        (tmp_path / "fill" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fill" / key).write_bytes(data)
    assert len(list(open_any(place).upload(collect(tmp_path / "fill"), place, lambda size: None))) == len(CONTENT)


def read(open_any: Open, place: StoragePath, tmp_path: Path) -> dict[str, bytes]:
    copy(place, StoragePath.parse(f"file://{tmp_path}/read"), open_any, recursive=True, overwrite=True)
    return tree(tmp_path / "read")


@pytest.mark.parametrize(
    ("source", "target"),
    [("file", "s3"), ("s3", "nas"), ("nas", "obs"), ("obs", "s3"), ("nas", "file"), ("s3", "file")],
)
def test_a_folder_is_copied_between_any_two_stores(
    open_any: Open, make: Make, tmp_path: Path, source: str, target: str
) -> None:
    fill(open_any, make(f"{source}:from"), tmp_path)
    totals: list[int] = []
    moved: list[int] = []
    done = copy(
        make(f"{source}:from"),
        make(f"{target}:to/there"),
        open_any,
        recursive=True,
        total=totals.append,
        progress=moved.append,
    )
    size = sum(map(len, CONTENT.values()))
    assert (done.files, done.bytes, totals) == (len(CONTENT), size, [size])
    assert 0 < sum(moved) <= size
    assert read(open_any, make(f"{target}:to/there"), tmp_path) == CONTENT


def test_one_object_is_copied_to_exactly_its_target(open_any: Open, make: Make, tmp_path: Path) -> None:
    fill(open_any, make("s3:from"), tmp_path)
    assert copy(make("s3:from/b/c.bin"), make("file:x/y.bin"), open_any).files == 1
    copy(make("file:x/y.bin"), make("s3:again"), open_any)
    copy(make("s3:again"), make("nas:back"), open_any)
    assert (tmp_path / "nas/back").read_bytes() == CONTENT["b/c.bin"]
    assert (tmp_path / "nas/back").stat().st_mode & 0o200
    assert [file.name for file in (tmp_path / "nas").iterdir()] == ["back"]


def test_a_folder_needs_recursive_and_nothing_is_overwritten_unasked(
    open_any: Open, make: Make, tmp_path: Path
) -> None:
    fill(open_any, make("s3:from"), tmp_path)
    with pytest.raises(InvalidInputError, match="--recursive"):
        copy(make("s3:from"), make("file:to"), open_any)
    copy(make("s3:from/a.txt"), make("file:to/a.txt"), open_any)
    with pytest.raises(InvalidInputError, match="--overwrite"):
        copy(make("s3:from/b/c.bin"), make("file:to/a.txt"), open_any)
    with pytest.raises(InvalidInputError, match="--overwrite"):
        copy(make("s3:from"), make("file:to"), open_any, recursive=True)
    copy(make("s3:from/b/c.bin"), make("file:to/a.txt"), open_any, overwrite=True)
    assert (tmp_path / "files/to/a.txt").read_bytes() == CONTENT["b/c.bin"]
    with pytest.raises(InputMissingError, match="nothing"):
        copy(make("s3:nothing"), make("file:other"), open_any)


def test_a_copy_that_was_interrupted_goes_on(open_any: Open, make: Make, tmp_path: Path, proxy: FaultProxy) -> None:
    fill(open_any, make("s3:from"), tmp_path)
    proxy.fail(busy(), lambda request: request.is_get("/c.bin"), times=1000)
    with pytest.raises(StorageUnavailableError):
        copy(make("s3:from"), make("file:to"), open_any, recursive=True)
    proxy.forgive()
    before = len(proxy.gets("/z.txt")) + len(proxy.gets("/a.txt"))
    copy(make("s3:from"), make("file:to"), open_any, recursive=True, overwrite=True)
    assert len(proxy.gets("/z.txt")) + len(proxy.gets("/a.txt")) == before
    assert tree(tmp_path / "files/to") == CONTENT


def test_a_listing_names_entries_below_the_path(open_any: Open, make: Make, tmp_path: Path) -> None:
    for kind in ("s3", "nas"):
        fill(open_any, make(f"{kind}:from"), tmp_path)
        place = make(f"{kind}:from")
        entries = open_any(place).entries
        assert [entry.key for entry in entries(place, recursive=False)] == ["a.txt", "b", "z.txt"]
        assert len(list(entries(place, recursive=True))) == len(CONTENT)


@pytest.mark.parametrize("kind", ["s3", "nas", "file"])
def test_a_folder_is_not_copied_into_itself(open_any: Open, make: Make, tmp_path: Path, kind: str) -> None:
    fill(open_any, make(f"{kind}:from"), tmp_path)
    for target in ("from", "from/b/inner"):
        with pytest.raises(InvalidInputError, match="inside of it"):
            copy(make(f"{kind}:from"), make(f"{kind}:{target}"), open_any, recursive=True, overwrite=True)
    copy(make(f"{kind}:from"), make(f"{kind}:from-2"), open_any, recursive=True)
