"""The index of connections, as it is written."""

from sqlalchemy import delete
from sqlmodel import Session, col

from blocks.domain.errors import NotFoundError
from blocks.registry.identity import now_us
from blocks.registry.storing import changed_rows, upsert
from blocks.registry.tables import ConnectionRow


class ConnectionRows:
    """The index, within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, name: str, endpoint: str) -> None:
        """Write an entry, over the one of the same name."""
        found = self._session.get(ConnectionRow, name)
        created_us = found.created_us if found else now_us()
        row = ConnectionRow(name=name, endpoint=endpoint, created_us=created_us)
        upsert(self._session, row, "name")

    def delete(self, name: str) -> None:
        """Delete an entry.

        Raises:
            NotFoundError: There is none of this name.
        """
        if changed_rows(self._session, delete(ConnectionRow).where(col(ConnectionRow.name) == name)) != 1:
            raise NotFoundError("connection", name)
