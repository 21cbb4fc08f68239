"""What both databases take, and how a row is put in once."""

from typing import Any

from sqlalchemy import CursorResult, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, SQLModel

_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def table_of(row: type[SQLModel]) -> Table:
    """SQLAlchemy's table of a SQLModel class."""
    table: Table = row.__table__  # type: ignore[attr-defined] # SQLModel adds it to every class that is a table
    return table


def changed_rows(session: Session, statement: Executable) -> int:
    """Run an UPDATE or DELETE; how many rows it changed."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker: these statements have no other result
    return result.rowcount


def insert_new(session: Session, row: SQLModel) -> bool:
    """Insert a row unless one of its unique values is taken; whether it was inserted.

    Unlike an INSERT that fails, it leaves the transaction usable.

    Raises:
        sqlalchemy.exc.IntegrityError: It refers to a row that is not there.
    """
    table = table_of(type(row))
    insert = _INSERT[session.get_bind().dialect.name]
    statement = insert(table).values(row.model_dump()).on_conflict_do_nothing().returning(*table.primary_key)
    return session.execute(statement).first() is not None


def upsert(session: Session, row: SQLModel, key: str) -> None:
    """Insert a row, or overwrite the one that has the same key."""
    values = row.model_dump()
    rest = {name: value for name, value in values.items() if name != key}
    insert = _INSERT[session.get_bind().dialect.name]
    session.execute(insert(table_of(type(row))).values(values).on_conflict_do_update(index_elements=[key], set_=rest))
