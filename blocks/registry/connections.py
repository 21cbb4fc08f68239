"""Which connection opens which endpoint. The secrets are in the workflow engine's Blocks, never here."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from blocks.domain.errors import InvalidInputError, NotFoundError
from blocks.domain.moments import from_microseconds
from blocks.registry.reading import Reader, Row
from blocks.registry.records import ConnectionEntry
from blocks.registry.sessions import Sessions

MAX_LENGTH = 512
_SELECT = "SELECT name, endpoint, created_us FROM connection"


class Connections:
    """An index of connections by name and by endpoint."""

    def __init__(self, reader: Reader, sessions: Sessions) -> None:
        self._reader = reader
        self._sessions = sessions

    def put(self, name: str, endpoint: str) -> ConnectionEntry:
        """Write an entry, over the one of the same name.

        Raises:
            InvalidInputError: A text is empty or too long, or the endpoint holds a user or a password.
        """
        for what, text in {"name": name, "endpoint": endpoint}.items():
            if not 0 < len(text) <= MAX_LENGTH or not text.isprintable():
                raise InvalidInputError(
                    f"the {what} of a connection",
                    "it is empty, too long or not printable",
                    f"Use 1 to {MAX_LENGTH} characters.",
                )
        if "@" in (urlsplit(endpoint).netloc or endpoint):
            raise InvalidInputError(
                "the endpoint of a connection", "it holds a user or a password", "Give the host and port alone."
            )
        with self._sessions.begin() as write:
            write.connections.put(name, endpoint)
        return self.get(name)

    def get(self, name: str) -> ConnectionEntry:
        """The entry of a name.

        Raises:
            NotFoundError: There is none.
        """
        row = self._reader.row(f"{_SELECT} WHERE name = :name", name=name)
        if row is None:
            raise NotFoundError("connection", name)
        return _entry(row)

    def find(self, endpoint: str) -> ConnectionEntry | None:
        """The oldest entry of an endpoint, or None."""
        row = self._reader.row(f"{_SELECT} WHERE endpoint = :endpoint ORDER BY created_us, name", endpoint=endpoint)
        return _entry(row) if row else None

    def list(self) -> Sequence[ConnectionEntry]:
        """All entries by name."""
        return [_entry(row) for row in self._reader.rows(f"{_SELECT} ORDER BY name")]

    def delete(self, name: str) -> None:
        """Delete an entry.

        Raises:
            NotFoundError: There is none.
        """
        with self._sessions.begin() as write:
            write.connections.delete(name)


def _entry(row: Row) -> ConnectionEntry:
    values = dict(row)
    return ConnectionEntry(created=from_microseconds(values.pop("created_us")), **values)
