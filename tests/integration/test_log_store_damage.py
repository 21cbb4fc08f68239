"""Files of the log store that are really damaged: they are set aside, what was asked goes on, nothing else is lost."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from blocks.domain.errors import ConcurrentUpdateError, LogStoreUnusableError
from blocks.logs.base import LogCursor, Reading
from tests.contract.log_store_contract import KEEP, bodies, prune, say, source
from tests.contract.test_log_store import DirectorySite

LINES = [f"line {number} {'abc ' * 20}" for number in range(2000)]
PAGE = 4096


def cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def cut_within_the_first_page(file: Path) -> None:
    os.truncate(file, 1000)


def overwrite(file: Path, first: int, last: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(first)
        stream.write(b"\xa5" * (last - first))


def overwrite_the_header(file: Path) -> None:
    overwrite(file, 0, 100)


def overwrite_pages_in_the_middle(file: Path) -> None:
    overwrite(file, PAGE, file.stat().st_size - PAGE)


def put_a_directory_there(file: Path) -> None:
    file.unlink()
    (file / "within").mkdir(parents=True)


DAMAGES = [
    cut_in_half,
    cut_within_the_first_page,
    overwrite_the_header,
    overwrite_pages_in_the_middle,
    put_a_directory_there,
]
Damage = Callable[[Path], None]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[DirectorySite]:
    site = DirectorySite(tmp_path / "logs")
    yield site
    site.close()


def damage_today(site: DirectorySite, damage: Damage) -> str:
    """Keep lines today, damage their file; its name without the ending."""
    say(store := site.connect(), *LINES)
    store.close()
    file = site.directory / f"{site.now():%Y-%m-%d}.db"
    damage(file)
    return file.stem


@pytest.mark.req("LOG-01", "COM-04")
@pytest.mark.parametrize("damage", DAMAGES)
def test_lines_of_all_trainings_go_on_into_a_new_file_and_it_is_said_once(
    site: DirectorySite, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    say(site.connect(), "yesterday", origin=source("trn-0"))
    site.pass_days(1)
    day = damage_today(site, damage)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            say(site.connect(), f"other {number}", origin=source("trn-2"))
        page = site.connect().search("", limit=10)
    assert [record.body for record in page.records] == ["other 2", "other 1", "other 0", "yesterday"]
    assert page.not_searched == (f"{day}.damaged-1.db",)
    assert (site.directory / f"{day}.damaged-1.db").exists()
    assert [record.getMessage().count("is damaged") for record in caplog.records] == [1]


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("damage", DAMAGES)
def test_the_cursor_goes_with_the_file_so_that_what_is_still_there_is_read_again(
    site: DirectorySite, damage: Damage
) -> None:
    damage_today(site, damage)
    with pytest.raises(ConcurrentUpdateError):
        site.connect().append(source(), Reading("trn-1/0", LogCursor(len(LINES)), LogCursor(9999), []))
    assert site.connect().cursors("trn-1") == {}
    say(site.connect(), *LINES)
    assert bodies(site.connect(), limit=5000) == LINES[::-1]


@pytest.mark.req("LOG-01")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("ask", ["search", "tail", "cursors", "usage", "remove"])
def test_whatever_is_asked_is_answered_from_the_other_days(site: DirectorySite, damage: Damage, ask: str) -> None:
    day = damage_today(site, damage)
    site.pass_days(1)
    say(site.connect(), "later", origin=source("trn-2"))
    store = site.connect()
    match ask:
        case "search":
            page = store.search("NOT nothing", limit=5000)
            assert ([record.body for record in page.records], page.not_searched) == (
                ["later"],
                (f"{day}.damaged-1.db",),
            )
        case "tail":
            site.pass_days(1)
            assert [record.body for record in store.tail("", 5000)] == ["later"]
        case "cursors" if damage is not overwrite_pages_in_the_middle:
            assert store.cursors("") == {"trn-2/0": LogCursor(1)}
        case "usage" if damage is not overwrite_pages_in_the_middle:
            usage = store.usage()
            assert (usage.records, usage.damaged) == (1, (f"{day}.damaged-1.db",))
        case "remove":
            store.remove(day)
            assert bodies(store) == ["later"]
            assert [file.name for file in site.directory.iterdir() if file.name.startswith(day)] == []


def test_only_times_that_it_may_hold_miss_what_is_damaged(site: DirectorySite) -> None:
    day = damage_today(site, overwrite_the_header)
    site.pass_days(2)
    say(store := site.connect(), "later", origin=source("trn-2"))
    assert store.search("", limit=1000).not_searched == (f"{day}.damaged-1.db",)
    assert store.search("", limit=10, since=site.now()).not_searched == ()
    assert store.search(f"time:[{site.now():%Y-%m-%d} TO *]", limit=10).not_searched == ()


def test_a_file_that_is_damaged_twice_a_day_is_set_aside_twice_and_both_go_with_their_day(site: DirectorySite) -> None:
    for _ in range(2):
        day = damage_today(site, cut_in_half)
    assert site.connect().search("", limit=10).not_searched == (f"{day}.damaged-1.db", f"{day}.damaged-2.db")
    site.pass_days(30)
    assert prune(site.connect(), 30, KEEP) == []
    site.pass_days(1)
    assert prune(site.connect(), 30, KEEP) == [day]
    assert list(site.directory.glob("*.db*")) == list(site.directory.glob(f"{site.now():%Y-%m-%d}.db*"))


def test_what_was_damaged_is_kept_as_it_was(site: DirectorySite) -> None:
    say(store := site.connect(), *LINES)
    store.close()
    [file] = site.directory.glob("*.db")
    overwrite_the_header(file)
    before = file.read_bytes()
    assert bodies(store) == []
    assert (site.directory / f"{file.stem}.damaged-1.db").read_bytes() == before


def test_an_empty_file_is_begun_like_a_new_one(site: DirectorySite) -> None:
    damage_today(site, lambda file: os.truncate(file, 0))
    assert bodies(site.connect()) == []
    say(site.connect(), *LINES)
    assert bodies(site.connect(), limit=5000) == LINES[::-1]


def test_whoever_has_it_open_writes_no_line_to_what_was_set_aside(site: DirectorySite) -> None:
    say(writer := site.connect(), *LINES)
    [file] = site.directory.glob("*.db")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    overwrite_the_header(file)
    assert bodies(site.connect()) == []
    say(writer, "new")
    assert bodies(site.connect()) == ["new"]
    assert [file.name for file in site.directory.glob("*.damaged-?.db")] == [f"{file.stem}.damaged-1.db"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to everything")
def test_a_file_that_may_only_be_read_is_searched_and_named_and_stays(site: DirectorySite) -> None:
    say(store := site.connect(), "line")
    store.close()
    [file] = site.directory.glob("*.db")
    file.chmod(0o400)
    assert bodies(site.connect()) == ["line"]
    with pytest.raises(LogStoreUnusableError, match="Make it, its -wal and -shm"):
        say(site.connect(), "more")
    for part in site.directory.glob("*.db*"):
        part.chmod(0o600)
    say(site.connect(), "more")
    assert bodies(site.connect()) == ["more", "line"]


FILLS_THE_DISK = """
import resource, sys
from pathlib import Path
from blocks.domain.errors import LogStoreUnavailableError
from blocks.logs.sqlite import SQLiteLogStore
from tests.contract.log_store_contract import bodies, say
store, hard = SQLiteLogStore(Path(sys.argv[1])), resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
kept = []
try:
    for number in range(100_000):
        line = f"line {number} " + "x" * 5000
        say(store, line)
        kept.append(line)
except LogStoreUnavailableError as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert bodies(store, limit=10_000) == kept[::-1]
    say(store, "more")
    assert bodies(SQLiteLogStore(Path(sys.argv[1])), limit=10_000) == ["more", *kept[::-1]]
    print(len(kept), "kept")
"""


def test_a_disk_that_takes_no_more_damages_nothing_and_is_waited_for(site: DirectorySite) -> None:
    command = [sys.executable, "-c", FILLS_THE_DISK, str(site.directory)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.endswith("kept\n")) == (0, True), ended.stderr
    assert list(site.directory.glob("*.damaged-*")) == []
