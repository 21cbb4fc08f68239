"""The storage contract on a directory, a NAS, moto's server and, where it is, versitygw."""

import uuid
from pathlib import Path

import pytest

from blocks.domain.paths import StoragePath
from blocks.storage.base import Storage
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage
from tests.contract.storage_contract import PATIENCE, StorageContract
from tests.servers import S3Server


class TestDirectory(StorageContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> StoragePath:
        return StoragePath.parse(f"file://{tmp_path}/store/place")

    @pytest.fixture
    def storage(self, place: StoragePath) -> Storage:
        return open_storage(place)


class TestNas(StorageContract):
    @pytest.fixture
    def place(self) -> StoragePath:
        return StoragePath.parse("nas://nas1:/place")

    @pytest.fixture
    def storage(self, place: StoragePath, tmp_path: Path) -> Storage:
        (tmp_path / "mount").mkdir()
        return open_storage(place, Connection(directory=str(tmp_path / "mount")))


class ObjectStoreContract(StorageContract):
    @pytest.fixture
    def server(self) -> S3Server:
        raise NotImplementedError

    @pytest.fixture
    def place(self, server: S3Server) -> StoragePath:
        return StoragePath.parse(f"s3://{server.make_bucket()}/place-{uuid.uuid4().hex[:6]}")

    @pytest.fixture
    def storage(self, place: StoragePath, server: S3Server) -> Storage:
        return open_storage(place, connection_to(server), PATIENCE)


class TestMoto(ObjectStoreContract):
    @pytest.fixture
    def server(self, s3_server: S3Server) -> S3Server:
        return s3_server


class TestVersitygw(ObjectStoreContract):
    @pytest.fixture
    def server(self, signed_s3_server: S3Server) -> S3Server:
        return signed_s3_server


def connection_to(server: S3Server) -> Connection:
    return Connection(
        endpoint_url=server.endpoint_url,
        access_key_id=server.access_key_id,
        secret_access_key=server.secret_access_key,
        region=server.region,
    )
