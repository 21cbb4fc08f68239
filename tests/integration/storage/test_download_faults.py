"""Downloads from a store, or over a network, that misbehaves."""

import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.domain.errors import InputChangedError, InputMissingError, StorageUnavailableError
from blocks.domain.paths import StoragePath
from blocks.storage.base import Storage
from blocks.storage.cache import Cache
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage
from tests.contract.storage_contract import PATIENCE, stage_one, tree
from tests.doubles.fault_proxy import Fault, FaultProxy, Request, busy
from tests.servers import S3Server

SMALL = b"0123456789" * 1000
LARGE = os.urandom(1_500_000)


@pytest.fixture
def content(s3_server: S3Server, bucket: str) -> dict[str, bytes]:
    """`small` has an MD5 as its ETag, and so has `large`, which comes in parts; `multi` has none."""
    with s3_server.client() as client:
        client.put_object(Bucket=bucket, Key="data/small", Body=SMALL)
        client.put_object(Bucket=bucket, Key="data/large", Body=LARGE)
        upload = client.create_multipart_upload(Bucket=bucket, Key="data/multi")["UploadId"]
        where = {"Bucket": bucket, "Key": "data/multi", "UploadId": upload}
        part = client.upload_part(**where, PartNumber=1, Body=LARGE[::-1])
        client.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    return {"small": SMALL, "large": LARGE, "multi": LARGE[::-1]}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(after_bytes=5000, then="stall"), id="stall"),
        pytest.param(Fault(after_bytes=5000, then="drip"), id="slow drip"),
        pytest.param(Fault(after_bytes=5000, then="truncate"), id="truncated body"),
        pytest.param(Fault(after_bytes=5000, then="reset"), id="connection reset"),
        pytest.param(Fault(after_bytes=0, then="reset"), id="reset before the first byte"),
        pytest.param(Fault(first_byte_seconds=60), id="no answer"),
        pytest.param(Fault(first_byte_seconds=1), id="slow first byte"),
        pytest.param(busy(), id="503"),
        pytest.param(busy(retry_after=1), id="503 with Retry-After"),
        pytest.param(Fault(answer=(500, {}, b"<Error><Code>InternalError</Code></Error>")), id="500"),
    ],
)
def test_a_fault_is_survived_and_every_byte_is_right(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
    fault: Fault,
) -> None:
    proxy.fail(fault, lambda request: request.is_get("/data/small"))
    proxy.fail(fault, lambda request: request.is_get("/data/large"))
    proxy.fail(fault, lambda request: request.is_get("/data/multi"))
    stage_one(storage, place, cache, tmp_path / "run")
    assert tree(tmp_path / "run/datasets/d") == content
    assert cache.verify_all().damaged == ()


@pytest.mark.parametrize("key", ["small", "large"])
def test_damage_on_the_way_is_noticed_by_the_md5_and_fetched_again(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
    key: str,
) -> None:
    proxy.fail(Fault(after_bytes=700, then="damage"), lambda request: request.is_get(f"/data/{key}"))
    stage_one(storage, place, cache, tmp_path / "run")
    assert tree(tmp_path / "run/datasets/d") == content


@pytest.mark.parametrize("key", ["small", "large"])
def test_an_object_whose_bytes_never_match_its_md5_fails_with_its_path(
    storage: Storage, place: StoragePath, cache: Cache, proxy: FaultProxy, content: dict[str, bytes], key: str
) -> None:
    plan = storage.plan(place)
    proxy.fail(Fault(after_bytes=700, then="damage"), lambda request: request.is_get(f"/data/{key}"), times=1000)
    with pytest.raises(InputChangedError) as caught:
        list(storage.fetch(plan, cache, lambda size: None))
    assert caught.value.path == f"{place}/{key}"
    (address,) = storage.addresses([planned for planned in plan if planned.key == key])
    assert cache.find([address]) == {}


def test_an_answer_with_another_etag_than_planned_is_refused(
    storage: Storage, place: StoragePath, cache: Cache, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    plan = storage.plan(place)
    wrong = Fault(headers={"ETag": '"00000000000000000000000000000000"'})
    proxy.fail(wrong, lambda request: request.is_get("/data/small"), times=1000)
    with pytest.raises(InputChangedError, match="data/small"):
        list(storage.fetch(plan, cache, lambda size: None))


@pytest.mark.req("TRN-17")
@pytest.mark.parametrize("key", ["large", "multi"])
def test_an_object_that_is_replaced_in_the_middle_is_never_mixed(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
    s3_server: S3Server,
    key: str,
) -> None:
    def replace_it() -> None:
        with s3_server.client() as client:
            client.put_object(Bucket=place.bucket, Key=f"data/{key}", Body=b"x" * len(LARGE))
        raise ConnectionResetError

    # Whoever asks again before a slow server has replaced it has to meet the same.
    for _ in range(6):
        proxy.fail(Fault(after_bytes=100_000, then=replace_it), lambda request: request.is_get(f"/data/{key}"))
    with pytest.raises(InputChangedError) as caught:
        stage_one(storage, place, cache, tmp_path / "run")
    assert caught.value.path == f"{place}/{key}"


@pytest.mark.req("TRN-17")
def test_an_object_that_is_deleted_in_the_middle_is_named(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
    s3_server: S3Server,
) -> None:
    def delete_it() -> None:
        with s3_server.client() as client:
            client.delete_object(Bucket=place.bucket, Key="data/large")

    for _ in range(6):
        proxy.fail(
            Fault(before=delete_it, after_bytes=100, then="reset"), lambda request: request.is_get("/data/large")
        )
    with pytest.raises(InputMissingError) as caught:
        stage_one(storage, place, cache, tmp_path / "run")
    assert caught.value.path == f"{place}/large"


def test_a_storm_of_503_is_waited_out_as_long_as_the_store_asks(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
) -> None:
    plan = storage.plan(place)
    calm = time.monotonic() + 1.5

    def storms(request: Request) -> bool:
        return request.at < calm

    proxy.fail(busy(retry_after=1), storms, times=10_000)
    list(storage.fetch(plan, cache, lambda size: None))
    assert len(cache.find(storage.addresses(plan))) == len(plan)
    # Heeding Retry-After, few requests meet the storm; a client that ignores it makes hundreds.
    assert sum(request.at < calm for request in proxy.requests) < 60


def test_a_store_that_stays_down_is_given_up_in_bounded_time(
    storage: Storage, place: StoragePath, cache: Cache, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    plan = storage.plan(place)
    proxy.fail(busy(), lambda request: request.method in ("GET", "HEAD"), times=10_000)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="503"):
        list(storage.fetch(plan, cache, lambda size: None))
    assert time.monotonic() - began < 15


def test_a_stalled_store_is_given_up_in_bounded_time(
    storage: Storage, place: StoragePath, cache: Cache, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    plan = [planned for planned in storage.plan(place) if planned.key == "small"]
    proxy.fail(Fault(after_bytes=100, then="drip"), lambda request: request.method == "GET", times=10_000)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="stalled"):
        list(storage.fetch(plan, cache, lambda size: None))
    assert time.monotonic() - began < 15


def test_a_listing_that_meets_faults_is_still_whole(
    storage: Storage, place: StoragePath, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    proxy.fail(busy(retry_after=1), lambda request: "list-type" in request.query)
    proxy.fail(Fault(after_bytes=50, then="truncate"), lambda request: "list-type" in request.query)
    proxy.fail(Fault(then="reset"), lambda request: "list-type" in request.query)
    assert [planned.key for planned in storage.plan(place)] == sorted(content)


def test_what_arrived_before_a_failure_is_not_fetched_again(
    storage: Storage, place: StoragePath, cache: Cache, tmp_path: Path, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    last = "bytes=1310720-"
    proxy.fail(busy(), lambda request: request.range.startswith(last) and request.is_get("/data/large"), times=1000)
    with pytest.raises(StorageUnavailableError):
        stage_one(storage, place, cache, tmp_path / "run")
    before = len(proxy.gets("/data/large"))
    proxy.forgive()
    stage_one(storage, place, cache, tmp_path / "run")
    again = proxy.gets("/data/large")[before:]
    assert again
    assert all(request.range.startswith(last) for request in again)
    assert tree(tmp_path / "run/datasets/d") == content


def _stage_in_vain(place: str, connection: dict[str, str], cache: str, into: str) -> None:
    """A process that meets a store that says nothing more, and is patient."""
    patient = replace(PATIENCE, stall_seconds=600)
    path = StoragePath.parse(place)
    storage = open_storage(path, Connection.from_mapping(connection), patient)
    stage_one(storage, path, Cache(Path(cache), 1 << 30), Path(into))


def test_a_process_that_was_killed_is_gone_on_with_beside_and_inside_large_objects(
    storage: Storage,
    place: StoragePath,
    cache: Cache,
    tmp_path: Path,
    proxy: FaultProxy,
    content: dict[str, bytes],
    connection: Connection,
) -> None:
    last = "bytes=1310720-"
    proxy.fail(Fault(after_bytes=10, then="stall"), lambda request: request.range.startswith(last), times=1000)
    arguments = (str(place), connection.to_mapping(), str(tmp_path / "cache"), str(tmp_path / "run"))
    process = multiprocessing.get_context("spawn").Process(target=_stage_in_vain, args=arguments)
    process.start()
    addresses = storage.addresses(storage.plan(place))
    journals = [cache.directory / "incoming" / f"{address}.parts" for address in addresses]
    deadline = time.monotonic() + 60
    while sum(journal.exists() and journal.read_text().count(".") == 5 for journal in journals) < 2 or not (
        cache.find(addresses)  # the small one is recorded although its call goes on
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    proxy.forgive()
    before = len(proxy.requests)
    stage_one(storage, place, cache, tmp_path / "run")
    assert not [request for request in proxy.requests[before:] if request.is_get("/small")]
    ranges = {
        request.range for request in proxy.requests[before:] if request.is_get("/large") or request.is_get("/multi")
    }
    assert ranges == {"bytes=1310720-1499999"}
    assert tree(tmp_path / "run/datasets/d") == content


def test_stopping_half_way_ends_the_downloads(
    connection: Connection, place: StoragePath, cache: Cache, proxy: FaultProxy, content: dict[str, bytes]
) -> None:
    patient = open_storage(place, connection, replace(PATIENCE, stall_seconds=600, answer_seconds=600))
    plan = patient.plan(place)
    proxy.fail(Fault(after_bytes=10, then="stall"), lambda request: request.is_get("/data/large"), times=1000)
    fetching = patient.fetch(plan, cache, lambda size: None)
    next(fetching)
    began = time.monotonic()
    fetching.close()
    assert time.monotonic() - began < 5
