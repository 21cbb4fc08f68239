"""SQLAlchemy's engine over our drivers' connections."""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from blocks.registry.driver import Driver

CONNECTIONS = 5
OVERFLOW = 20
_DIALECTS = {"sqlite": "sqlite+pysqlite://", "postgresql": "postgresql+psycopg://"}


def open_engine(driver: Driver) -> Engine:
    """An engine for writing: each of its transactions may change something from its beginning on."""

    def connect() -> Any:
        return driver.connect(autocommit=False)

    engine = create_engine(
        _DIALECTS[driver.dialect],
        creator=connect,
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        max_overflow=OVERFLOW,
        pool_pre_ping=driver.dialect == "postgresql",
    )
    if driver.dialect == "sqlite":
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _begin_immediate(connection: Connection) -> None:
    """Wait for the other writer now: SQLite lets nobody wait who has read already and then wants to write."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
