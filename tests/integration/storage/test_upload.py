"""Uploads: verified, only what is not there, nothing left behind when they fail."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from urllib.parse import parse_qs

import pytest

from blocks.domain.errors import (
    AccessDeniedError,
    InputMissingError,
    InvalidInputError,
    StorageUnavailableError,
    UnknownStoreError,
)
from blocks.domain.paths import StoragePath
from blocks.storage.base import LocalFile, Rights, Storage
from blocks.storage.local_files import collect
from blocks.storage.open import open_storage
from blocks.storage.patience import MIB
from tests.contract.storage_contract import PATIENCE
from tests.contract.test_storage import connection_to
from tests.doubles.fault_proxy import Fault, FaultProxy, Request, busy, refusal
from tests.servers import S3Server, versitygw_binary, versitygw_server, versitygw_user


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Twelve small files, more than are asked for one by one, and one that is uploaded in three parts."""
    (tmp_path / "model").mkdir()
    for n in range(12):
        (tmp_path / f"model/{n:02}").write_bytes(os.urandom(1000))
    (tmp_path / "model/weights").write_bytes(os.urandom(17 * MIB))
    return tmp_path / "model"


def is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def send(storage: Storage, model: Path, place: StoragePath) -> None:
    assert len(list(storage.upload(collect(model), place, lambda size: None))) == 13


def objects(server: S3Server, place: StoragePath) -> dict[str, str]:
    with server.client() as client:
        answer = client.list_objects_v2(Bucket=place.bucket)
        found = {item["Key"]: client.get_object(Bucket=place.bucket, Key=item["Key"]) for item in answer["Contents"]}
        return {key.removeprefix("data/"): hashlib.sha256(got["Body"].read()).hexdigest() for key, got in found.items()}


def hashes(directory: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.iterdir()}


def unfinished(server: S3Server, place: StoragePath) -> int:
    with server.client() as client:
        return len(client.list_multipart_uploads(Bucket=place.bucket).get("Uploads", []))


def test_what_is_there_with_the_same_content_is_not_sent_again(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy, s3_server: S3Server
) -> None:
    send(storage, model, place)
    assert objects(s3_server, place) == hashes(model)
    (model / "03").write_bytes(os.urandom(1000))
    before = len(proxy.requests)
    send(storage, model, place)
    assert [request.path for request in proxy.requests[before:] if is_write(request)] == [f"/{place.bucket}/data/03"]
    assert objects(s3_server, place) == hashes(model)


@pytest.mark.parametrize(
    "fault",
    [busy(), busy(retry_after=1), Fault(then="reset"), refusal(500, "InternalError")],
    ids=["503", "503 with Retry-After", "reset", "500"],
)
def test_faults_are_survived(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy, s3_server: S3Server, fault: Fault
) -> None:
    proxy.fail(fault, lambda request: is_write(request) and request.path.endswith("/00"))
    proxy.fail(fault, lambda request: is_write(request) and request.path.endswith("/weights"), times=2)
    send(storage, model, place)
    assert objects(s3_server, place) == hashes(model)
    assert unfinished(s3_server, place) == 0


def test_an_upload_that_fails_leaves_no_parts(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy, s3_server: S3Server
) -> None:
    proxy.fail(busy(), lambda request: "partNumber=2" in request.query, times=1000)
    with pytest.raises(StorageUnavailableError, match="weights"):
        send(storage, model, place)
    assert unfinished(s3_server, place) == 0


def test_an_upload_whose_process_died_goes_on_with_its_parts(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy, s3_server: S3Server
) -> None:
    with s3_server.client() as client:
        where = {"Bucket": place.bucket, "Key": "data/weights"}
        upload = client.create_multipart_upload(**where)["UploadId"]
        part = (model / "weights").read_bytes()[: 8 * MIB]
        client.upload_part(**where, UploadId=upload, PartNumber=1, Body=part)
        client.upload_part(**where, UploadId=upload, PartNumber=2, Body=b"what an older file had here" * 200_000)
    send(storage, model, place)
    sent = [parse_qs(request.query).get("partNumber") for request in proxy.requests if request.method == "PUT"]
    assert sorted(number for number in sent if number) == [["2"], ["3"]]
    assert objects(s3_server, place) == hashes(model)
    assert unfinished(s3_server, place) == 0


def test_a_store_that_keeps_other_bytes_is_caught(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy
) -> None:
    lie = Fault(headers={"ETag": '"00000000000000000000000000000000"'})
    proxy.fail(lie, lambda request: request.path.endswith("/00") and request.method in ("PUT", "HEAD"), times=1000)
    with pytest.raises(StorageUnavailableError, match="the store kept"):
        list(storage.upload([LocalFile(model / "00", "00")], place, lambda size: None))


def test_a_missing_right_names_bucket_path_and_right(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy
) -> None:
    proxy.fail(refusal(403, "AccessDenied"), times=1000)
    with pytest.raises(AccessDeniedError) as caught:
        send(storage, model, place)
    assert caught.value.bucket == place.bucket
    assert caught.value.path.startswith(f"{place}/")
    assert "write" in caught.value.right


def test_the_right_to_write_is_enough(
    storage: Storage, place: StoragePath, model: Path, proxy: FaultProxy, s3_server: S3Server
) -> None:
    proxy.fail(refusal(403, "AccessDenied"), lambda request: request.method in ("GET", "HEAD"), times=1000)
    storage.check(place, Rights.WRITE)
    assert not storage.is_empty(place)  # unknown: whoever asks must take a place of his own
    send(storage, model, place)
    assert objects(s3_server, place) == hashes(model)
    assert list(storage.upload([LocalFile(model / "00", "00")], place, lambda size: None))


@pytest.fixture
def policed_server(tmp_path: Path) -> Iterator[tuple[S3Server, S3Server]]:
    """A server that heeds bucket policies, as its root and as an account without rights."""
    binary = versitygw_binary()
    if binary is None:
        pytest.skip("versitygw is not on PATH (nor named by MAKERFLOW_TEST_S3)")
    (tmp_path / "accounts").mkdir()
    with versitygw_server(binary, "--iam-dir", str(tmp_path / "accounts")) as server:
        yield server, versitygw_user(binary, server)


@pytest.mark.req("COM-06")
def test_an_account_of_a_real_server_that_may_only_put_can_be_written_with(
    policed_server: tuple[S3Server, S3Server], model: Path
) -> None:
    root, writer = policed_server
    place = StoragePath.parse(f"s3://{root.make_bucket()}/data")
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": [writer.access_key_id]},
                "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
                "Resource": [f"arn:aws:s3:::{place.bucket}/*"],
            }
        ],
    }
    with root.client() as client:
        client.put_bucket_policy(Bucket=place.bucket, Policy=json.dumps(policy))
    storage = open_storage(place, connection_to(writer), PATIENCE)
    with pytest.raises(AccessDeniedError, match="Grant read"):
        storage.check(place, Rights.READ)
    storage.check(place, Rights.WRITE)
    assert not storage.is_empty(place)
    send(storage, model, place)
    assert objects(root, place) == hashes(model)


@pytest.mark.parametrize("files", [1, None], ids=["one file", "many"])
def test_a_missing_bucket_is_named(storage: Storage, model: Path, files: int | None) -> None:
    nowhere = StoragePath.parse("s3://no-such-bucket/x")
    with pytest.raises(UnknownStoreError, match=r"the bucket no-such-bucket does not exist\. Create it, or correct"):
        list(storage.upload(collect(model)[:files], nowhere, lambda size: None))


def test_a_file_that_vanished_or_became_a_symlink_is_not_sent(
    storage: Storage, place: StoragePath, model: Path
) -> None:
    files = collect(model)
    (model / "00").unlink()
    with pytest.raises(InputMissingError, match="00"):
        list(storage.upload(files, place, lambda size: None))
    (model / "00").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInputError, match="symlink"):
        list(storage.upload(files[:1], place, lambda size: None))
    assert storage.is_empty(place / "00")


def test_a_directory_gets_only_whole_files_and_no_scraps(tmp_path: Path, model: Path) -> None:
    place = StoragePath.parse(f"file://{tmp_path}/out")
    send(open_storage(place), model, place)
    inodes = {file.name: file.stat().st_ino for file in (tmp_path / "out").iterdir()}
    assert hashes(tmp_path / "out") == hashes(model)
    (model / "03").write_bytes(os.urandom(1000))
    send(open_storage(place), model, place)
    changed = {file.name for file in (tmp_path / "out").iterdir() if file.stat().st_ino != inodes[file.name]}
    assert changed == {"03"}
    assert hashes(tmp_path / "out") == hashes(model)


def test_what_a_killed_upload_left_is_no_data_and_is_taken_over(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "weights").write_bytes(os.urandom(4 * MIB))
    place = StoragePath.parse(f"file://{out}")
    program = """
import os, signal, sys
from pathlib import Path
from blocks.domain.paths import StoragePath
from blocks.storage.local_files import collect
from blocks.storage.open import open_storage
place = StoragePath.parse(sys.argv[2])
die = lambda size: os.kill(os.getpid(), signal.SIGKILL)
list(open_storage(place).upload(collect(Path(sys.argv[1])), place, die))
"""
    command = [sys.executable, "-c", program, str(source), str(place)]
    for _ in range(2):  # the second takes over what the first left, and leaves no more
        assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
        (left,) = out.iterdir()
    storage = open_storage(place)
    assert storage.is_empty(place)
    assert list(storage.entries(place)) == list(storage.entries(place, recursive=True)) == []
    assert collect(out) == []
    with pytest.raises(InputMissingError):
        storage.plan(place)
    list(storage.upload(collect(source), place, lambda size: None))
    assert hashes(out) == hashes(source)
    assert not left.exists()


def test_a_file_or_folder_in_the_way_is_named_and_not_the_temporary_file(tmp_path: Path, model: Path) -> None:
    storage = open_storage(StoragePath.parse(f"file://{tmp_path}"))
    (tmp_path / "out").write_bytes(b"mine")
    for place in (f"file://{tmp_path}/out", f"file://{tmp_path}/out/model"):
        with pytest.raises(InvalidInputError, match=f"there is a file at {tmp_path}/out. Move it") as caught:
            storage.check(StoragePath.parse(place), Rights.WRITE)
        assert caught.value.what == f"{place} is refused"
        with pytest.raises(InvalidInputError, match=f"there is a file at {tmp_path}/out. Move it"):
            send(storage, model, StoragePath.parse(place))
    (tmp_path / "other/weights").mkdir(parents=True)
    with pytest.raises(InvalidInputError, match=f"there is a folder at {tmp_path}/other/weights. Move it"):
        send(storage, model, StoragePath.parse(f"file://{tmp_path}/other"))
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_two_uploads_to_one_place_do_not_mix(tmp_path: Path) -> None:
    place = StoragePath.parse(f"file://{tmp_path}/out")
    contents = [bytes([n]) * (4 * MIB) for n in range(4)]
    together = Barrier(len(contents))

    def upload(number: int) -> None:
        (tmp_path / str(number)).mkdir()
        (tmp_path / f"{number}/x").write_bytes(contents[number])
        together.wait(60)
        list(open_storage(place).upload(collect(tmp_path / str(number)), place, lambda size: None))

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(upload, range(len(contents))))
    (only,) = (tmp_path / "out").iterdir()
    assert only.read_bytes() in contents
