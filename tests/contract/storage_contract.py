"""What every storage promises, tested on each."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.domain.errors import InputChangedError, InputMissingError, InvalidInputError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, PlannedInput
from blocks.storage.base import Rights, Storage
from blocks.storage.cache import Cache
from blocks.storage.local_files import collect
from blocks.storage.patience import MIB, Patience
from blocks.storage.staging import Staged, stage

PATIENCE = Patience(
    connect_seconds=5,
    answer_seconds=1.5,
    stall_seconds=0.4,
    quick_seconds=1,
    attempts=4,
    first_wait_seconds=0.05,
    longest_wait_seconds=2,
    part_bytes=256 * 1024,
    chunk_bytes=64 * 1024,
    slow_chunk_bytes=8 * 1024,
)
"""Small parts and short waits, so that the tests see in seconds what users see in minutes."""

CONTENT = {"a.txt": b"alpha", "b/c.bin": bytes(range(256)) * 40, "b/empty": b"", "z.txt": b"alpha"}
ODD_KEYS = (
    "with space",
    "a%20b",
    "a+b&c=d",
    "ü/日本語",
    "#?*",
    "quote'\"",
    "~tilde",
    "[x]{y}",
    "..hidden",
    "a..b",
    "100%",
)


def stage_one(storage: Storage, path: StoragePath, cache: Cache, into: Path) -> Staged:
    """Plan and stage one data set called `d`."""
    planned = PlannedInput(kind=InputKind.DATASET, name="d", path=str(path), objects=tuple(storage.plan(path)))
    return stage([planned], lambda _: storage, cache, into, lambda progress: None)


def tree(directory: Path) -> dict[str, bytes]:
    """Relative path to content of all files."""
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


class StorageContract(ABC):
    """Subclasses give a storage and an empty place in it."""

    @pytest.fixture
    @abstractmethod
    def storage(self) -> Storage:
        """The storage under test."""

    @pytest.fixture
    @abstractmethod
    def place(self) -> StoragePath:
        """A path in it that nothing is at, nor below."""

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Cache:
        return Cache(tmp_path / "cache", 1 << 30)

    @staticmethod
    def put(storage: Storage, place: StoragePath, content: Mapping[str, bytes], tmp_path: Path) -> None:
        source = tmp_path / f"put-{os.urandom(4).hex()}"
        for key, data in content.items():
            (source / key).parent.mkdir(parents=True, exist_ok=True)
            (source / key).write_bytes(data)
        assert len(list(storage.upload(collect(source), place, lambda size: None))) == len(content)

    def test_a_plan_lists_every_object_in_order_and_is_stable(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        plan = storage.plan(place)
        assert [(o.key, o.size, o.path) for o in plan] == [
            (key, len(CONTENT[key]), f"{place}/{key}") for key in sorted(CONTENT)
        ]
        assert all(o.etag for o in plan)
        assert storage.plan(place) == plan

    def test_a_plan_of_one_object_holds_that_object(self, storage: Storage, place: StoragePath, tmp_path: Path) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        (planned,) = storage.plan(place / "b/c.bin")
        assert (planned.key, planned.path, planned.size) == ("c.bin", f"{place}/b/c.bin", 10240)

    def test_a_plan_of_nothing_names_the_path(self, storage: Storage, place: StoragePath) -> None:
        with pytest.raises(InputMissingError) as caught:
            storage.plan(place / "nothing")
        assert caught.value.path == f"{place}/nothing"

    @pytest.mark.req("TRN-06")
    def test_staged_files_have_the_bytes_and_are_read_only(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        staged = stage_one(storage, place, cache, tmp_path / "run")
        assert tree(tmp_path / "run/datasets/d") == CONTENT
        assert (staged.files, staged.bytes) == (4, sum(map(len, CONTENT.values())))
        modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").rglob("*") if file.is_file()}
        assert modes == {0o444}

    def test_the_second_run_fetches_nothing_and_shares_the_bytes(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        stage_one(storage, place, cache, tmp_path / "one")
        staged = stage_one(storage, place, cache, tmp_path / "two")
        assert staged.cached_bytes == staged.bytes
        assert (tmp_path / "one/datasets/d/a.txt").samefile(tmp_path / "two/datasets/d/a.txt")

    def test_odd_keys_survive_the_way_there_and_back(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        content = {key: key.encode() for key in ODD_KEYS}
        self.put(storage, place, content, tmp_path)
        stage_one(storage, place, cache, tmp_path / "run")
        assert tree(tmp_path / "run/datasets/d") == content

    def test_a_large_object_arrives_in_parts(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        content = {"large.bin": os.urandom(2 * MIB + 12345)}
        self.put(storage, place, content, tmp_path)
        stage_one(storage, place, cache, tmp_path / "run")
        assert tree(tmp_path / "run/datasets/d") == content
        assert cache.verify_all().damaged == ()

    @pytest.mark.req("TRN-17")
    @pytest.mark.parametrize("size", [5, 600_000])
    def test_an_object_that_changes_after_the_plan_is_named(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path, size: int
    ) -> None:
        self.put(storage, place, {"x": b"1" * size, "y": b"y"}, tmp_path)
        plan = storage.plan(place)
        self.put(storage, place, {"x": b"2" * size}, tmp_path)
        with pytest.raises(InputChangedError) as caught:
            list(storage.fetch(plan, cache, lambda size: None))
        assert caught.value.path == f"{place}/x"

    @pytest.mark.req("TRN-17")
    def test_an_object_that_vanishes_after_the_plan_is_named(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        plan = storage.plan(place)
        storage.delete(place / "a.txt")
        storage.delete(place / "z.txt")
        with pytest.raises(InputMissingError) as caught:
            list(storage.fetch(plan, cache, lambda size: None))
        assert caught.value.path in (f"{place}/a.txt", f"{place}/z.txt")

    @pytest.mark.req("TRN-17")
    def test_a_staged_run_no_longer_depends_on_its_input(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        stage_one(storage, place, cache, tmp_path / "run")
        storage.delete(place)
        assert tree(tmp_path / "run/datasets/d") == CONTENT

    def test_uploaded_files_are_reported_with_their_place(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model/weights").write_bytes(b"w" * 1000)
        arrived: list[int] = []
        (uploaded,) = storage.upload(collect(tmp_path / "model"), place, arrived.append)
        assert (uploaded.key, str(uploaded.path), uploaded.size) == ("weights", f"{place}/weights", 1000)
        (planned,) = storage.plan(place)
        assert planned.etag == uploaded.etag
        assert sum(arrived) == 1000

    def test_an_upload_replaces_other_content_in_one_step(
        self, storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path
    ) -> None:
        self.put(storage, place, {"x": b"old"}, tmp_path)
        self.put(storage, place, {"x": b"new!"}, tmp_path)
        stage_one(storage, place, cache, tmp_path / "run")
        assert tree(tmp_path / "run/datasets/d") == {"x": b"new!"}

    @pytest.mark.req("COM-06")
    def test_a_check_passes_where_the_rights_are_and_leaves_nothing(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        storage.check(place / "out", Rights.WRITE)
        assert storage.is_empty(place)
        self.put(storage, place, CONTENT, tmp_path)
        storage.check(place, Rights.READ | Rights.WRITE)
        storage.check(place / "a.txt", Rights.READ)
        assert [o.key for o in storage.plan(place)] == sorted(CONTENT)

    @pytest.mark.req("COM-06")
    def test_a_check_for_reading_names_what_is_not_there(self, storage: Storage, place: StoragePath) -> None:
        with pytest.raises(InputMissingError) as caught:
            storage.check(place / "nothing", Rights.READ)
        assert caught.value.path == f"{place}/nothing"

    def test_a_delete_takes_what_is_below_and_nothing_beside(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        self.put(storage, place, {"out/1": b"1", "out/2/3": b"3", "output": b"o", "ou": b"t"}, tmp_path)
        assert storage.delete(place / "out") == 2
        assert storage.delete(place / "out") == 0
        assert [o.key for o in storage.plan(place)] == ["ou", "output"]

    def test_a_whole_store_is_never_deleted(self, storage: Storage, place: StoragePath, tmp_path: Path) -> None:
        self.put(storage, place, {"a.txt": b"a"}, tmp_path)
        with pytest.raises(InvalidInputError, match="whole store"):
            storage.delete(replace(place, key=""))
        assert not storage.is_empty(place)

    def test_empty_is_what_has_no_object_at_or_below_it(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        assert storage.is_empty(place)
        self.put(storage, place, {"out/1": b"1", "output": b"o"}, tmp_path)
        assert not storage.is_empty(place)
        assert not storage.is_empty(place / "out")
        assert not storage.is_empty(place / "output")
        assert storage.is_empty(place / "outp")

    def test_a_listing_shows_a_folder_or_all_objects(
        self, storage: Storage, place: StoragePath, tmp_path: Path
    ) -> None:
        self.put(storage, place, CONTENT, tmp_path)
        entries = list(storage.entries(place))
        assert [(entry.key, entry.size) for entry in entries] == [("a.txt", 5), ("b", None), ("z.txt", 5)]
        assert [entry.is_folder for entry in entries] == [False, True, False]
        assert [entry.key for entry in storage.entries(place, recursive=True)] == sorted(CONTENT)
        (alone,) = storage.entries(place / "a.txt")
        assert (alone.key, alone.size) == ("a.txt", 5)
        assert alone.modified is not None
        assert alone.modified.tzinfo is not None
        assert list(storage.entries(place / "nothing")) == []
