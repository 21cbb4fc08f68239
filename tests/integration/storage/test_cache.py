"""The cache that all runs of a machine share: never damaged, bounded, safe with many processes."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import time
from pathlib import Path

import pytest

from blocks.domain.errors import CapacityError
from blocks.domain.paths import StoragePath
from blocks.storage import links, locks
from blocks.storage.cache import Cache
from blocks.storage.incoming import Incoming
from blocks.storage.open import open_storage
from tests.contract.storage_contract import stage_one, tree

CONTENT = {f"d{i % 3}/{i}": str(i).encode() * 100 for i in range(30)}


@pytest.fixture
def place(tmp_path: Path) -> StoragePath:
    """A data set in a directory."""
    for key, data in CONTENT.items():
        (tmp_path / "data" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / key).write_bytes(data)
    return StoragePath.parse(f"file://{tmp_path}/data")


def run(place: StoragePath, cache: Cache, into: Path) -> int:
    """Stage a run; how many bytes had to be fetched."""
    staged = stage_one(open_storage(place), place, cache, into)
    return staged.bytes - staged.cached_bytes


def write_through(file: Path, *, keep_time: bool) -> None:
    """What an entry point that runs as root can do to its inputs."""
    before = file.stat()
    file.chmod(0o644)
    with file.open("r+b") as stream:
        stream.write(b"damaged")
    file.chmod(0o444)
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("keep_time", [False, True], ids=["plainly", "setting the time back"])
@pytest.mark.parametrize("removed", [False, True], ids=["run kept", "run removed"])
def test_damage_through_a_hard_link_never_reaches_the_next_run(
    place: StoragePath, cache: Cache, tmp_path: Path, keep_time: bool, removed: bool
) -> None:
    run(place, cache, tmp_path / "one")
    victim = tmp_path / "one/datasets/d/d0/0"
    write_through(victim, keep_time=keep_time)
    if removed:
        cache.remove_tree(tmp_path / "one")
    assert run(place, cache, tmp_path / "two") == len(CONTENT["d0/0"])
    assert tree(tmp_path / "two/datasets/d") == CONTENT


def test_damage_between_the_attempts_of_a_run_is_mended_in_its_own_directory(
    place: StoragePath, cache: Cache, tmp_path: Path
) -> None:
    run(place, cache, tmp_path / "one")
    write_through(tmp_path / "one/datasets/d/d0/0", keep_time=True)
    run(place, cache, tmp_path / "one")
    assert tree(tmp_path / "one/datasets/d") == CONTENT


def test_a_link_or_a_mode_that_changed_is_verified_and_not_fetched_again(
    place: StoragePath, cache: Cache, tmp_path: Path
) -> None:
    run(place, cache, tmp_path / "one")
    shutil.rmtree(tmp_path / "one/datasets/d/d1")
    (tmp_path / "one/datasets/d/d0/0").chmod(0o644)
    assert run(place, cache, tmp_path / "two") == 0
    assert (tmp_path / "two/datasets/d/d0/0").stat().st_mode & 0o777 == 0o444


def test_a_run_that_is_removed_by_the_cache_leaves_its_files_trusted(
    place: StoragePath, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, cache, tmp_path / "one")
    cache.remove_tree(tmp_path / "one")
    cache.remove_tree(tmp_path / "one")
    assert not (tmp_path / "one").exists()
    monkeypatch.setattr("blocks.storage.cache.digest_like", lambda *_: pytest.fail("a file was read again"))
    assert run(place, cache, tmp_path / "two") == 0


def test_a_full_verification_finds_damage_and_strays(place: StoragePath, cache: Cache, tmp_path: Path) -> None:
    run(place, cache, tmp_path / "one")
    file = next((tmp_path / "cache/objects").iterdir())
    times = file.stat()
    file.chmod(0o600)
    file.write_bytes(b"?" * times.st_size)
    (tmp_path / "cache/objects/at-stray").write_bytes(b"nobody knows")
    seen: list[int] = []
    found = cache.verify_all(seen.append)
    assert (found.files, found.damaged, found.strays) == (30, (file.name,), 1)
    assert sum(seen) == found.bytes
    assert cache.verify_all().damaged == ()
    assert run(place, cache, tmp_path / "two") == times.st_size
    assert tree(tmp_path / "two/datasets/d") == CONTENT


def test_a_lost_index_means_fetching_again(place: StoragePath, cache: Cache, tmp_path: Path) -> None:
    run(place, cache, tmp_path / "one")
    for file in (tmp_path / "cache").glob("index.db*"):
        file.write_bytes(b"this is no database, whatever it was before" * 100)
    fresh = Cache(tmp_path / "cache", 1 << 30)
    assert run(place, fresh, tmp_path / "two") > 0
    assert tree(tmp_path / "two/datasets/d") == CONTENT


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_where_links_are_refused_files_are_copied(
    place: StoragePath, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(links.os, "link", refuse)
    run(place, cache, tmp_path / "one")
    assert tree(tmp_path / "one/datasets/d") == CONTENT
    copied = (tmp_path / "one/datasets/d/d0/0").stat()
    assert (copied.st_nlink, copied.st_mode & 0o777) == (1, 0o444)
    assert run(place, cache, tmp_path / "two") == 0


def single(tmp_path: Path, name: str, size: int) -> StoragePath:
    (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / name / "file").write_bytes(os.urandom(size))
    return StoragePath.parse(f"file://{tmp_path}/{name}")


def test_the_least_recently_used_is_evicted(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 2500)
    first, second, third = (single(tmp_path, name, 1000) for name in ("first", "second", "third"))
    run(first, cache, tmp_path / "1")
    run(second, cache, tmp_path / "2")
    run(first, cache, tmp_path / "3")
    run(third, cache, tmp_path / "4")
    assert cache.total_bytes() <= 2500
    assert run(first, cache, tmp_path / "5") == 0
    assert run(second, cache, tmp_path / "6") == 1000


def test_an_input_larger_than_the_cache_is_staged_and_then_evicted(place: StoragePath, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 500)
    run(place, cache, tmp_path / "one")
    assert tree(tmp_path / "one/datasets/d") == CONTENT
    assert cache.total_bytes() <= 500


def test_nothing_is_evicted_under_a_run_that_is_being_staged(tmp_path: Path) -> None:
    cache, other = (Cache(tmp_path / "cache", 1500) for _ in range(2))
    place = single(tmp_path, "first", 1000)
    storage = open_storage(place)
    plan = storage.plan(place)
    with cache.lease():
        list(storage.fetch(plan, cache, lambda size: None))
        run(single(tmp_path, "second", 1000), other, tmp_path / "other")
        assert cache.link([(storage.addresses(plan)[0], str(tmp_path / "mine"))]) == []
    assert cache.total_bytes() <= 1500


def test_a_lease_of_a_process_that_died_protects_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 100)
    (tmp_path / "cache/leases/dead").touch()
    os.utime(tmp_path / "cache/leases/dead", (1, 1))
    run(single(tmp_path, "first", 1000), cache, tmp_path / "one")
    assert cache.total_bytes() == 0


def test_a_disk_without_room_is_named_before_anything_is_fetched(cache: Cache, tmp_path: Path) -> None:
    with pytest.raises(CapacityError) as caught:
        cache.make_room(1 << 60)
    assert str(tmp_path / "cache") in caught.value.what
    assert f"{1 << 60:,} bytes" in str(caught.value)


def test_a_disk_that_fills_up_is_named(
    place: StoragePath, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Incoming, "write", full)
    with pytest.raises(CapacityError, match="cache is full"):
        run(place, cache, tmp_path / "one")
    monkeypatch.undo()
    run(place, cache, tmp_path / "one")
    assert tree(tmp_path / "one/datasets/d") == CONTENT


def test_what_lies_in_the_way_of_a_staged_file_is_replaced(place: StoragePath, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "one/datasets/d/d0").mkdir(parents=True)
    (tmp_path / "one/datasets/d/d0/0").write_bytes(b"half of a file")
    run(place, cache, tmp_path / "one")
    assert tree(tmp_path / "one/datasets/d") == CONTENT


def test_partial_files_that_nobody_goes_on_with_are_dropped(cache: Cache, tmp_path: Path) -> None:
    old = tmp_path / "cache/incoming/at-old"
    old.write_bytes(b"part")
    os.utime(old, (1, 1))
    held = cache.claim("at-held")
    assert held is not None
    os.utime(held.file, (1, 1))
    cache.trim()
    assert [file.name for file in old.parent.iterdir()] == ["at-held"]
    held.discard()


def _stage_often(place: str, cache: str, into: str) -> None:
    """One process of many."""
    shared = Cache(Path(cache), 3000)
    for turn in range(5):
        directory = Path(into) / str(turn)
        run(StoragePath.parse(place), shared, directory)
        assert tree(directory / "datasets/d") == CONTENT
        shared.remove_tree(directory)


def test_many_processes_share_one_small_cache(place: StoragePath, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = [(str(place), str(tmp_path / "cache"), str(tmp_path / f"p{n}")) for n in range(4)]
    processes = [context.Process(target=_stage_often, args=args) for args in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert Cache(tmp_path / "cache", 3000).verify_all().damaged == ()


def test_a_lease_that_is_let_go_while_somebody_looks_is_none(
    place: StoragePath, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(place, cache, tmp_path / "into")
    (cache.directory / "leases" / "another").touch()
    monkeypatch.setattr(locks, "is_locked", lambda file: file.unlink() is None)
    cache.trim(0)
    assert not list((cache.directory / "objects").iterdir())


@pytest.fixture
def busy_claim(cache: Cache, place: StoragePath) -> tuple[Incoming, str]:
    storage = open_storage(place)
    address = storage.addresses(storage.plan(place))[0]
    claim = cache.claim(address)
    assert claim is not None
    return claim, address


def test_an_object_that_another_process_brings_in_is_waited_for(
    place: StoragePath, cache: Cache, tmp_path: Path, busy_claim: tuple[Incoming, str]
) -> None:
    claim, address = busy_claim
    storage = open_storage(place)
    plan = storage.plan(place)
    fetching = storage.fetch(plan, cache, lambda size: None)
    keys = [next(fetching).planned.key]
    assert cache.claim(address) is None
    data = CONTENT[plan[0].key]
    claim.write(data, 0)
    cache.settle([(claim, f"sha256:{hashlib.sha256(data).hexdigest()}")])
    began = time.monotonic()
    rest = list(fetching)
    assert time.monotonic() - began < 5
    assert sorted(keys + [fetched.planned.key for fetched in rest]) == sorted(CONTENT)
    assert [fetched.planned.key for fetched in rest if fetched.cached] == [plan[0].key]
