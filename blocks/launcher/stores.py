"""The stores of a run, opened with the secrets that were handed to its agent."""

from collections.abc import Mapping

from blocks.domain.paths import StoragePath
from blocks.storage.base import Storage
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage


class Stores:
    """Opens each store once. Safe to use from several threads."""

    def __init__(self, secrets: Mapping[str, Mapping[str, str]]) -> None:
        self._secrets = secrets
        self._opened: dict[tuple[str, str], Storage] = {}

    def open(self, path: str, connection: str) -> Storage:
        """The store of `path` with the connection of that name, or with the machine's own means.

        Raises:
            UnknownStoreError: This machine cannot reach it.
        """
        place = StoragePath.parse(path)
        key = (place.store, connection)
        if key not in self._opened:
            known = self._secrets.get(connection)
            self._opened[key] = open_storage(place, Connection.from_mapping(known) if known is not None else None)
        return self._opened[key]
