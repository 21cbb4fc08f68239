"""The application of a workflow server: Prefect's own, with a garbage collector and tables of its own.

Where the collector runs in the thread of the event loop, as it does by default, a server on SQLite can stand still for
a minute: it frees the cursor of a statement whose connection waits for another one to commit, has to wait for that
connection, and so keeps the other one's commit, which the event loop would have to ask for, from happening.

Prefect takes its migrations through an asynchronous driver, statement by statement, which is most of what the first
start of a server takes. Nobody uses a new database yet, so it can be made in memory, by the same migrations, and
copied.
"""

import gc
import logging
import sqlite3
import threading
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from prefect.server.api.server import create_app as create_prefect_app
from prefect.server.database import provide_database_interface
from prefect.server.database.alembic_commands import alembic_config
from prefect.settings import get_current_settings
from sqlalchemy.pool import StaticPool

from blocks.locks import locked

if TYPE_CHECKING:
    from fastapi import FastAPI

COLLECT_SECONDS = 0.5
"""Between two looks whether there is garbage to collect: of the oldest generation about once a minute at most."""

logger = logging.getLogger("makerflow")


def create_app() -> "FastAPI":
    """The application, for `uvicorn --factory`."""
    url = get_current_settings().server.database.connection_url
    place = sa.make_url(url.get_secret_value()) if url else None
    if place and place.database and place.get_backend_name() == "sqlite":
        make_tables(Path(place.database))
    app = create_prefect_app()
    collect_garbage_in_a_thread()
    return app


def collect_garbage_in_a_thread() -> None:
    """Never collect garbage in the thread that happens to make some, but in one that may wait.

    What is there now stays for good, and need not be looked through again.
    """
    gc.disable()
    gc.collect()
    gc.freeze()
    threading.Thread(target=_collect, name="garbage collector", daemon=True).start()


def _collect() -> None:
    while True:
        time.sleep(COLLECT_SECONDS)
        full = [number for number, limit in enumerate(gc.get_threshold()) if gc.get_count()[number] > limit]
        try:
            if full:
                gc.collect(full[-1])
        except Exception:  # without this thread the memory would fill up
            logger.exception("Garbage could not be collected; it is tried again")


def make_tables(file: Path) -> None:
    """Make all tables of a workflow database that has none; one that has any is left to Prefect, as is what fails here.

    Whoever comes second waits for the first. Killed at any moment it leaves an empty database, or a whole one.
    """
    with locked(file), closing(sqlite3.connect(file)) as database:
        if database.execute("SELECT 1 FROM sqlite_master").fetchone():
            return
        try:
            _migrated().backup(database)
        except Exception as error:  # another Prefect may keep its migrations elsewhere: it knows how to apply them
            logger.warning("Prefect makes the tables of %s itself, which takes longer: %s", file, error)


def _migrated() -> sqlite3.Connection:
    """A database in memory with Prefect's tables of now."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    tables = provide_database_interface()
    config = alembic_config()
    config.set_main_option("version_locations", str(tables.orm.versions_dir))
    script = ScriptDirectory.from_config(config)
    engine = sa.create_engine("sqlite://", creator=lambda: memory, poolclass=StaticPool)
    with (
        EnvironmentContext(
            config, script, fn=lambda revision, _: script._upgrade_revs("head", revision)
        ) as environment,
        engine.connect() as connection,
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Skipped unsupported reflection", sa.exc.SAWarning)
        environment.configure(connection=connection, target_metadata=tables.Base.metadata, render_as_batch=True)
        environment.run_migrations()
    return memory
