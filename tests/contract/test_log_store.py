"""The embedded log store keeps the promises of the interface, and some of its own."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path

import pytest

from blocks.domain.errors import LogStoreFullError, LogStoreUnusableError
from blocks.logs.base import LogStore
from blocks.logs.day_file import DayFile
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import KEEP, LogStoreContract, LogStoreSite, bodies, prune, say, source

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

KEEPS_OPEN = """
import sys
from pathlib import Path
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import say
store = SQLiteLogStore(Path(sys.argv[1]))
say(store, "old")
print(flush=True)
sys.stdin.read()
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


@pytest.mark.req("LOG-01")
def test_a_day_is_kept_to_the_last_microsecond_of_its_keep_time(tmp_path: Path) -> None:
    clock = [datetime(2026, 11, 1, 23, 59, 59, 999_999, tzinfo=UTC)]
    store = SQLiteLogStore(tmp_path, lambda: clock[0])
    say(store, "first", "second")  # of which one lies on the next day, in the file of this one
    clock[0] = datetime(2026, 11, 2, tzinfo=UTC)
    say(store, "third")
    assert bodies(store, since=clock[0]) == ["third", "second"]
    clock[0] = datetime(2026, 11, 4, 23, 59, 59, 999_999, tzinfo=UTC)
    assert store.expired(3, KEEP) == []
    clock[0] += timedelta(microseconds=1)
    assert store.expired(3, KEEP) == ["2026-11-01"]
    store.remove("2026-11-01")
    assert bodies(store) == ["third"]
    assert store.expired(3, KEEP) == []
    store.close()


@contextmanager
def kept_open(directory: Path) -> Iterator[str]:
    """A day that another process has open, so that its -wal and -shm are there."""
    command = [sys.executable, "-c", KEEPS_OPEN, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        [file] = directory.glob("*.db")
        yield file.stem
        process.kill()


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("removed", range(3))
def test_a_removal_that_is_killed_at_any_point_is_found_and_done_by_the_next_one(
    site: DirectorySite, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    unlink, left = Path.unlink, [removed]

    def killed(self: Path, missing_ok: bool = False) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        unlink(self, missing_ok)

    with kept_open(site.directory) as day:
        site.pass_days(40)
        say(store := site.connect(), "new")
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", killed)
            with pytest.raises(KeyboardInterrupt):
                store.remove(day)
        assert prune(site.connect(), 30, KEEP) == [day]
        assert list(site.directory.glob(f"{day}*")) == []
    assert bodies(site.connect()) == ["new"]


@pytest.mark.req("LOG-01")
def test_bytes_are_kept_up_to_the_bound_itself(site: DirectorySite) -> None:
    say(store := site.connect(), "old")
    day = f"{site.now():%Y-%m-%d}"
    site.pass_days(1)
    say(store, "new")
    size = store.usage().bytes
    assert store.expired(30, size) == []
    assert store.expired(30, size - 1) == [day]


@pytest.mark.req("LOG-01")
def test_days_that_no_line_of_the_time_can_be_in_are_not_opened(
    site: DirectorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = []
    for _ in range(5):
        say(store := site.connect(), f"on {site.now():%Y-%m-%d}")
        days.append(f"{site.now():%Y-%m-%d}")
        site.pass_days(1)
    opened: list[str] = []
    open_day = DayFile.__init__

    def noted(self: DayFile, file: Path, *, create: bool) -> None:
        opened.append(file.stem)
        open_day(self, file, create=create)

    monkeypatch.setattr(DayFile, "__init__", noted)
    assert bodies(store, f"time:[{days[2]}T06:00 TO {days[2]}]") == [f"on {days[2]}"]
    assert opened == [days[2]]
    since = datetime.fromisoformat(f"{days[3]}T06:00Z")
    assert bodies(store, since=since) == [f"on {day}" for day in (days[4], days[3])]
    assert opened == [days[2], days[4], days[3]]


@pytest.mark.req("LOG-01")
def test_a_day_takes_no_more_than_its_share_of_the_bound_and_the_next_one_goes_on(tmp_path):
    days = [datetime(2026, 11, 1, 12, tzinfo=UTC)]
    store = SQLiteLogStore(tmp_path, lambda: days[-1], most_bytes=800_000)
    refused = ""
    for number in range(300):
        try:
            say(store, "x" * 10_000, origin=source(f"trn-{number}"))
        except LogStoreFullError as error:
            refused = str(error)
    assert "MAKERFLOW_LOG_STORE_GB" in refused
    assert store.usage().bytes < 400_000
    kept = store.usage().records
    assert kept > 0
    days.append(days[-1] + timedelta(days=1))
    say(store, "the next day")
    assert bodies(store, "next") == ["the next day"]
    assert store.usage().records == kept + 1
    store.close()


def print_without_end(store: SQLiteLogStore, *trainings: str, **fields: str) -> None:
    for training in cycle(trainings or ["trn-1"]):
        say(store, *["x" * 100] * 2000, origin=source(training, **fields))


@pytest.mark.req("LOG-01")
def test_days_that_are_printed_full_leave_room_for_what_was_kept_before_and_stay_themselves(tmp_path):
    now, bound = [datetime(2026, 11, 1, 12, tzinfo=UTC)], 40_000_000
    store = SQLiteLogStore(tmp_path, lambda: now[0], most_bytes=bound)
    say(store, "what was kept before")
    for _ in range(2):
        now[0] += timedelta(days=1)
        with pytest.raises(LogStoreFullError):
            print_without_end(store, *(f"trn-{number}" for number in range(8)))
        assert store.expired(30, bound) == []
    now[0] += timedelta(days=1)
    assert store.expired(30, bound) == [], "the day that was printed full is over"
    assert bodies(store, "before") == ["what was kept before"]
    store.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[SQLiteLogStore]:
    """A store whose day has room for 20 MB, and one training for 5 MB of it."""
    store = SQLiteLogStore(tmp_path, lambda: datetime(2026, 11, 1, 12, tzinfo=UTC), most_bytes=80_000_000)
    yield store
    store.close()


@pytest.mark.req("LOG-01", "TRN-10")
def test_a_training_that_prints_without_end_leaves_room_for_all_others(small: SQLiteLogStore) -> None:
    say(small, "not much", origin=source("trn-2"))
    assert small.room().shortage == ""
    with pytest.raises(LogStoreFullError, match=r"used up by digits.*MAKERFLOW_LOG_STORE_GB"):
        print_without_end(small)
    assert small.usage().bytes < 12_000_000
    say(small, "more", origin=source("trn-2"))
    say(small, "the first", origin=source("trn-3"))
    assert bodies(small, "NOT trainingId:trn-1") == ["the first", "more", "not much"]
    small.close()
    assert "0.005 GB, is used up by digits" in small.room().shortage
    assert not small.room().is_used_up


@pytest.mark.req("LOG-01", "TRN-10")
def test_what_the_platform_says_is_kept_also_where_all_room_is_used_up(small: SQLiteLogStore) -> None:
    with pytest.raises(LogStoreFullError, match=r"the day's room, 0\.02 GB, is used up, most of it by digits"):
        print_without_end(small, *(f"trn-{number}" for number in range(8)))
    with pytest.raises(LogStoreFullError):
        say(small, "one line", origin=source("trn-9"))
    say(small, "FAIL TRAIN: why", origin=source("trn-1", rank=7), by_platform=True)
    say(small, "FAIL TRAIN: why", origin=source("trn-9", rank=7), by_platform=True)
    assert bodies(small, "FAIL") == ["FAIL TRAIN: why"] * 2


@pytest.mark.req("LOG-01", "TRN-10")
def test_all_trials_of_a_tuning_have_the_room_of_one_training(small: SQLiteLogStore) -> None:
    say(small, "little", origin=source("trn-other"))
    with pytest.raises(LogStoreFullError):
        print_without_end(small, *(f"trn-{number}" for number in range(8)), tuning_id="tun-1")
    with pytest.raises(LogStoreFullError):
        say(small, "a line", origin=source("trn-99", tuning_id="tun-1"))
    say(small, "more", origin=source("trn-other"))
    assert [owner.id for owner in small.room().refused] == ["tun-1"]


@pytest.mark.req("COM-10")
def test_a_day_that_an_earlier_version_has_begun_goes_on(small: SQLiteLogStore) -> None:
    with pytest.raises(LogStoreFullError):
        print_without_end(small)
    small.close()
    [file] = small.directory.glob("*.db")
    connection = sqlite3.connect(file)
    connection.execute("ALTER TABLE streams DROP COLUMN bytes")
    connection.close()
    assert [owner.id for owner in small.room().owners] == ["trn-1"]
    say(small, "one line", origin=source("trn-2"), by_platform=True)
    say(small, "another", origin=source("trn-2"))
    assert bodies(small, "trainingId:trn-2") == ["another", "one line"]
    with pytest.raises(LogStoreFullError, match="used up by digits"):
        say(small, "more", origin=source("trn-1"))
