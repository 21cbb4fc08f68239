"""How this process's Prefect client reaches an API."""

from typing import Any

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL
from prefect.settings.legacy import Setting

from blocks.connections.settings import own_account_at, read_settings


def client_settings(api: str) -> dict[Setting, Any]:
    """Prefect's settings for the API at this address, with what the front door of this home asks for."""
    account = own_account_at(read_settings(), api)
    return {PREFECT_API_URL: api} | ({PREFECT_API_AUTH_STRING: account} if account else {})
