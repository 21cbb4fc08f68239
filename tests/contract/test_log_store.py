"""The embedded log store keeps the promises of the interface, and some of its own."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blocks.domain.errors import LogStoreUnusableError
from blocks.logs.base import LogStore
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import LogStoreContract, LogStoreSite, bodies, say

WRITES = """
import sys
from pathlib import Path
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import say, source
store = SQLiteLogStore(Path(sys.argv[1]))
for step in range(20):
    say(store, *(f"line {step * 50 + n}" for n in range(50)), origin=source("trn-1", int(sys.argv[2])))
store.close()
"""


class DirectorySite(LogStoreSite):
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._noon = datetime.now(UTC).replace(hour=12, minute=0)
        self._began = time.monotonic()
        self._clients: list[LogStore] = []

    def connect(self) -> LogStore:
        self._clients.append(SQLiteLogStore(self.directory, self.now))
        return self._clients[-1]

    def pass_days(self, days: int) -> None:
        self._noon += timedelta(days=days)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def now(self) -> datetime:
        """From noon on: no test may depend on the time of the day."""
        return self._noon + timedelta(seconds=time.monotonic() - self._began)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DirectorySite]:
    site = DirectorySite(tmp_path / "logs")
    yield site
    site.close()


class TestSQLiteLogStore(LogStoreContract):
    pass


def test_processes_that_write_at_once_lose_nothing(site: DirectorySite) -> None:
    command = [sys.executable, "-c", WRITES, str(site.directory)]
    processes = [subprocess.Popen([*command, str(rank)]) for rank in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    for rank in range(4):
        assert bodies(site.connect(), f"rank:{rank}", limit=2000)[::-1] == [f"line {n}" for n in range(1000)]


def test_the_directory_is_for_its_owner_alone(site: DirectorySite) -> None:
    say(site.connect(), "secret")
    assert site.directory.stat().st_mode & 0o077 == 0


def test_a_day_of_a_newer_program_is_refused(site: DirectorySite) -> None:
    say(store := site.connect(), "line")
    store.close()
    [file] = site.directory.glob("*.db")
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LogStoreUnusableError, match="newer"):
        bodies(store)


def test_a_day_that_somebody_removed_is_begun_again(site: DirectorySite) -> None:
    say(store := site.connect(), "lost")
    for file in site.directory.iterdir():
        file.unlink()
    say(store, "kept")
    assert bodies(store) == ["kept"]
