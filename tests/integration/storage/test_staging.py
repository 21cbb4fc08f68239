"""Staging of all inputs of a run."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, PlannedInput
from blocks.storage.cache import Cache
from blocks.storage.open import open_storage
from blocks.storage.patience import MIB
from blocks.storage.staging import StagingProgress, stage
from tests.contract.storage_contract import tree


def planned(tmp_path: Path, kind: InputKind, name: str = "") -> PlannedInput:
    """An input of one file."""
    folder = tmp_path / f"{kind.value}-{name}"
    folder.mkdir()
    (folder / "file").write_bytes(f"{kind.value} {name}".encode() * 1000)
    path = StoragePath.parse(f"file://{folder}")
    return PlannedInput(kind=kind, name=name, path=str(path), objects=tuple(open_storage(path).plan(path)))


@pytest.mark.req("TRN-06", "TRN-07")
def test_each_input_goes_to_its_own_directory(cache: Cache, tmp_path: Path) -> None:
    inputs = [
        planned(tmp_path, InputKind.SOURCE),
        planned(tmp_path, InputKind.DATASET, "train"),
        planned(tmp_path, InputKind.DATASET, "test"),
        planned(tmp_path, InputKind.CHECKPOINT),
    ]
    seen: list[StagingProgress] = []
    staged = stage(inputs, lambda one: open_storage(StoragePath.parse(one.path)), cache, tmp_path / "run", seen.append)
    assert sorted(tree(tmp_path / "run")) == [
        "checkpoint/file",
        "datasets/test/file",
        "datasets/train/file",
        "source/file",
    ]
    assert (staged.files, staged.cached_bytes) == (4, 0)
    assert seen[-1] == StagingProgress(staged.bytes, 0, staged.bytes)
    assert [one.done for one in seen] == sorted(one.done for one in seen)


@pytest.mark.parametrize("key", ["../../escape", "/etc/passwd", "a/../../../b", "nul\x00"])
def test_a_plan_that_was_tampered_with_cannot_leave_the_directory(cache: Cache, tmp_path: Path, key: str) -> None:
    good = planned(tmp_path, InputKind.SOURCE)
    evil = good.model_copy(update={"objects": (good.objects[0].model_copy(update={"key": key}),)})
    with pytest.raises(InvalidInputError):
        stage([evil], lambda one: open_storage(StoragePath.parse(one.path)), cache, tmp_path / "run", lambda seen: None)
    assert tree(tmp_path / "run") == {}


def test_directories_are_planned_and_staged_without_the_clients_of_object_stores(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x").touch()
    program = """
import sys
from pathlib import Path
from blocks.domain.paths import StoragePath
from blocks.domain.plan import PlannedInput
from blocks.storage.cache import Cache
from blocks.storage.open import open_storage
from blocks.storage.staging import stage
import blocks.storage.transfer
place = StoragePath.parse(sys.argv[1])
storage = open_storage(place)
objects = tuple(storage.plan(place))
one = PlannedInput(kind="source", path=str(place), objects=objects)
stage([one], lambda _: storage, Cache(Path(sys.argv[2]), 1000), Path(sys.argv[3]), lambda seen: None)
heavy = {"boto3", "botocore", "obstore"} & set(sys.modules)
assert not heavy, heavy
"""
    arguments = [f"file://{tmp_path}/data", str(tmp_path / "cache"), str(tmp_path / "run")]
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=60)
    assert (tmp_path / "run/source/x").exists()


def test_a_copied_file_is_recorded_while_another_is_still_being_copied(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/small").write_bytes(b"s")
    (tmp_path / "data/large").write_bytes(b"l" * 2 * MIB)
    place = StoragePath.parse(f"file://{tmp_path}/data")
    storage = open_storage(place)
    plan = storage.plan(place)
    addresses = storage.addresses(plan)
    deadline = time.monotonic() + 30

    def hold_back_the_large_one(size: int) -> None:
        while size == MIB and not cache.find(addresses):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert len(list(storage.fetch(plan, cache, hold_back_the_large_one))) == 2
