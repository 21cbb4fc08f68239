"""The registry for commands that only look: opened without the cluster, the stores or Prefect, which take longer."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocks.connections.settings import Settings
    from blocks.registry.database import Registry


def read_settings() -> "Settings":
    """The settings of this process."""
    from blocks.connections import settings

    return settings.read_settings()


def open_registry() -> "Registry":
    """The registry of this process's settings."""
    from blocks.connections.settings import make_home

    settings = read_settings()
    make_home(settings)
    return _registry(settings.database_url)


@cache
def _registry(url: str) -> "Registry":
    from blocks.registry import database

    return database.open_registry(url)
