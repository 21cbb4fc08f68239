"""How this process's Prefect client reaches an API."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.clients import EventsClient, PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from prefect.settings.legacy import Setting

from blocks.connections.settings import own_account_at, read_settings

SENDERS = ("EventsWorker", "APILogWorker")
"""Prefect's loggers, outside its own tree, of what sends while a process goes on with something else."""

_overrides: dict[object, tuple[type[EventsClient], dict[str, Any]]] = {}


@contextmanager
def using(api: str, updates: dict[Setting, Any] | None = None) -> Iterator[None]:
    """Make the API at this address Prefect's meanwhile, with what the front door of this home asks for."""
    account = own_account_at(read_settings(), api)
    settings = {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: account} if account else {}) | (updates or {})
    with temporary_settings(updates=settings), sending_events_by(PrefectEventsClient, api_url=api):
        yield


@contextmanager
def sending_events_by(client: type[EventsClient], **options: Any) -> Iterator[None]:
    """Have such a client send this process's events meanwhile.

    Prefect keeps one sender of events a process, whatever address is set later, and the server knows of task runs by
    events alone: without a client that names its address it would never hear of them where another had been used
    before. The choice is the process's: where threads overlap, the last that still goes on decides.
    """
    use = object()
    _overrides[use] = (client, options)
    EventsWorker.set_client_override(client, **options)
    try:
        yield
    finally:
        del _overrides[use]
        remaining, its_options = next(reversed(_overrides.values()), (None, {}))
        EventsWorker.set_client_override(remaining, **its_options)


@contextmanager
def client_of(api: str) -> Iterator[SyncPrefectClient]:
    """A client of the API at this address, which is this process's meanwhile."""
    with using(api), get_client(sync_client=True) as client:
        yield client


@contextmanager
def asking_once() -> Iterator[None]:
    """Have clients ask once meanwhile: they would go on for a minute where a server has gone, while somebody waits."""
    with temporary_settings(updates={PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def _is_news(record: logging.LogRecord) -> bool:
    """Not that there is still something to send when a process ends: it is waited for, and sent."""
    return not record.getMessage().startswith("Still processing items")


for _name in SENDERS:
    logging.getLogger(_name).addFilter(_is_news)
