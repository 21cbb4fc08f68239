"""How this process's Prefect client reaches an API."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.settings.legacy import Setting

from blocks.connections.settings import own_account_at, read_settings


def client_settings(api: str) -> dict[Setting, Any]:
    """Prefect's settings for the API at this address, with what the front door of this home asks for."""
    account = own_account_at(read_settings(), api)
    return {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: account} if account else {})


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the API at this address, which is this process's meanwhile."""
    with temporary_settings(updates=client_settings(api)), get_client(sync_client=True) as client:
        yield client
