"""The tables of a new workflow database."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, temporary_settings

from blocks.connections import workflow_server
from blocks.connections.workflow_server import make_tables

BY_PREFECT = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


@pytest.mark.req("COM-04")
def test_a_new_database_has_what_prefect_would_have_made(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    make_tables(ours)
    environment = {
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{theirs}",
        "PREFECT_HOME": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", BY_PREFECT], env=environment, check=True)
    assert contents(ours) == contents(theirs)


def contents(file: Path) -> dict[str, object]:
    """Columns, foreign keys and indexes of every table; what SQLite lists in any order, sorted."""
    with closing(sqlite3.connect(file)) as database:

        def ask(text: str, *values: str) -> list[tuple[object, ...]]:
            return database.execute(text, values).fetchall()

        def sorted_answer(text: str, table: str) -> list[str]:
            return sorted(map(str, ask(text, table)))

        tables = [name for (name,) in ask("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {
            str(table): (
                ask("SELECT * FROM pragma_table_xinfo(?)", str(table)),
                sorted_answer(
                    'SELECT "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?)', str(table)
                ),
                sorted_answer("SELECT name, sql FROM sqlite_master WHERE type <> 'table' AND tbl_name = ?", str(table)),
            )
            for table in tables
        } | {"revision": ask("SELECT version_num FROM alembic_version")}


def test_a_database_that_has_tables_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE precious (value)")
    before = file.read_bytes()
    make_tables(file)
    assert file.read_bytes() == before


def test_what_fails_is_left_to_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> sqlite3.Connection:
        raise KeyError("versions_dir")

    monkeypatch.setattr(workflow_server, "_migrated", fails)
    make_tables(tmp_path / "a.db")
    assert (tmp_path / "a.db").stat().st_size == 0
    assert "takes longer" in caplog.text


def test_the_tables_of_another_kind_of_database_are_left_to_prefect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow_server, "create_prefect_app", object)
    monkeypatch.setattr(workflow_server, "collect_garbage_in_a_thread", lambda: None)
    url = "postgresql+asyncpg://makerflow@database/prefect"
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: url}):
        workflow_server.create_app()
    assert not list(tmp_path.iterdir())


COLLECTS = """
import gc, sqlite3, sys, threading, time
from blocks.connections.workflow_server import collect_garbage_in_a_thread
collect_garbage_in_a_thread()
holder, waiter = (
    sqlite3.connect(sys.argv[1], timeout=1000, isolation_level=None, check_same_thread=False) for _ in range(2)
)
begin = "BEGIN IMMEDIATE"
holder.execute(begin)

class Cyclic:
    def __init__(self):
        self.itself, self.cursor = self, waiter.cursor()

waiter.execute("PRAGMA busy_timeout = 1")
refused = Cyclic()
try:
    refused.cursor.execute(begin)
except sqlite3.OperationalError:
    pass  # its cursor keeps the statement, which the next one of the same words takes from the connection's cache
waiter.execute("PRAGMA busy_timeout = 1000000")
begins, began = threading.Event(), threading.Event()
waiter.set_trace_callback(lambda statement: begins.set())
waits = threading.Thread(target=lambda: waiter.cursor().execute(begin))
waits.start()
begins.wait()
gc.callbacks.append(lambda phase, info: began.set())
del refused
while not began.is_set():
    Cyclic.made = [[] for _ in range(1000)]  # enough for the collector to begin
    time.sleep(0.01)
holder.execute("COMMIT")
waits.join()
"""


def test_garbage_of_a_connection_that_waits_for_another_keeps_nobody_from_ending_that_wait(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COLLECTS, str(tmp_path / "t.db")],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
