"""How this process's Prefect client reaches an API."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.settings.legacy import Setting

from blocks.connections.settings import own_account_at, read_settings

SENDERS = ("EventsWorker", "APILogWorker")
"""Prefect's loggers, outside its own tree, of what sends while a process goes on with something else."""


def client_settings(api: str) -> dict[Setting, Any]:
    """Prefect's settings for the API at this address, with what the front door of this home asks for."""
    account = own_account_at(read_settings(), api)
    return {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: account} if account else {})


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the API at this address, which is this process's meanwhile."""
    with temporary_settings(updates=client_settings(api)), get_client(sync_client=True) as client:
        yield client


def _is_news(record: logging.LogRecord) -> bool:
    """Not that there is still something to send when a process ends: it is waited for, and sent."""
    return not record.getMessage().startswith("Still processing items")


for _name in SENDERS:
    logging.getLogger(_name).addFilter(_is_news)
