"""A bucket behind a proxy that misbehaves, and what stages from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.domain.paths import StoragePath
from blocks.storage.base import Storage
from blocks.storage.cache import Cache
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage
from tests.contract.storage_contract import PATIENCE
from tests.doubles.fault_proxy import FaultProxy, fault_proxy
from tests.servers import S3Server


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3_server.endpoint_url) as running:
        yield running


@pytest.fixture
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture
def place(bucket: str) -> StoragePath:
    return StoragePath.parse(f"s3://{bucket}/data")


@pytest.fixture
def connection(proxy: FaultProxy) -> Connection:
    return Connection(endpoint_url=proxy.url, access_key_id="key", secret_access_key="secret", region="us-east-1")


@pytest.fixture
def storage(place: StoragePath, connection: Connection) -> Storage:
    """The bucket, seen through the proxy."""
    return open_storage(place, connection, PATIENCE)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 1 << 30)
