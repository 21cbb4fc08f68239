"""What the cluster cannot tell any more of a worker's output is read from its uploaded log, in order and once."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.cluster.base import OutputRead
from blocks.cluster.kubernetes.frames import cursor_of, place_of
from blocks.cluster.uploaded_log import BEGINS
from blocks.domain.errors import AccessDeniedError, InputChangedError, StorageUnavailableError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput, RunHandle
from blocks.storage.base import Fetched, Storage
from blocks.storage.open import open_storage
from tasks import output_reading
from tasks.output_reading import OutputReader

NOTE = b"[makerflow: the end of attempt 1 may be missing here]\n"
LOG = b"a\nb\nc\n" + BEGINS % 2 + b"d\n"


class Cluster:
    """Of a run whose first attempt's output is known to its first line only, and the second one's whole.

    Attributes:
        note: What it says of what is missing.
        first: What it knows of the first attempt.
        gap: Up to there a node has dropped it, but has the line that follows; 0 for none.
    """

    position_of = staticmethod(place_of)
    note, first, gap = NOTE, b"a\n", 0

    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        attempt, position = place_of(since)
        if attempt == 1 and position < len(self.first):
            return OutputRead(self.first, len(self.first))
        if attempt == 1 and position < self.gap:
            return OutputRead(NOTE, self.gap, cut_at=since)
        if attempt == 1 and 0 < self.gap == position:
            return OutputRead(b"c\n", self.gap + 2)
        if attempt == 1:
            return OutputRead(self.note, cursor_of(2, 0), cut_at=since)
        return OutputRead(b"d\n", cursor_of(2, 2)) if position < 2 else OutputRead(b"", since)


class Site:
    """Where the run is, and its uploaded log may be."""

    def __init__(self, directory: Path) -> None:
        outputs = (PlannedOutput(kind=OutputKind.LOG, path=f"file://{directory}/out"),)
        self.row: Any = SimpleNamespace(id="r", name="t", tuning_id=None, plan=SimpleNamespace(outputs=outputs))
        self.directory, self.cluster, self.opened = directory, Cluster(), 0
        self.platform: Any = SimpleNamespace(
            cluster=self.cluster,
            registry=SimpleNamespace(trainings=SimpleNamespace(get=lambda _: self.row), tunings=None),
            storage=self._storage,
            settings=SimpleNamespace(home=directory / "home", cache_gb=1),
        )

    def upload(self, log: bytes, rank: int = 0) -> None:
        place = self.directory / "out" / (f"worker-{rank}" if rank else "")
        place.mkdir(parents=True)
        (place / "output.log").write_bytes(log)

    def _storage(self, path: StoragePath) -> Storage:
        self.opened += 1
        return open_storage(path, None)

    def read(self, rank: int = 0, since: int = 0, at_most: int = 100) -> list[bytes]:
        reader, found = OutputReader(self.platform, RunHandle(cluster="", run_id="r")), []
        while (read := reader.read(rank, since, at_most))[1] != since:
            data, since = read
            found.append(data)
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.req("TUN-04", "TUN-13")
@pytest.mark.parametrize("rank", [0, 3])
def test_what_is_missing_comes_from_the_uploaded_log_of_the_worker(site: Site, rank: int) -> None:
    site.upload(LOG, rank)
    assert site.read(rank) == [b"a\n", b"b\nc\n", NOTE, b"d\n"]


def test_a_long_rest_comes_in_pieces_of_a_log_that_is_fetched_once(site: Site) -> None:
    site.upload(LOG)
    assert site.read(at_most=3) == [b"a\n", b"b\n", b"c\n", NOTE, b"d\n"]
    assert site.opened == 1


def test_who_goes_on_in_the_middle_of_it_reads_the_rest(site: Site) -> None:
    site.upload(LOG)
    assert site.read(since=4) == [b"c\n", NOTE, b"d\n"]


def test_where_nobody_knows_whether_an_attempt_had_begun_its_log_tells(site: Site) -> None:
    """As of one that was launched and lost while nobody followed."""
    site.cluster.note, site.cluster.first = b"", b""
    site.upload(LOG)
    assert site.read() == [b"a\nb\nc\n", b"", b"d\n"]


def test_a_part_that_a_node_has_dropped_comes_from_the_log_and_what_follows_from_the_cluster(site: Site) -> None:
    site.cluster.gap = 4
    site.upload(LOG)
    assert site.read() == [b"a\n", b"b\n", b"c\n", NOTE, b"d\n"]


def test_a_log_that_is_replaced_whenever_it_is_fetched_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.upload(LOG)
    storage, times = open_storage(StoragePath.parse("file:///log")), iter(range(6))
    fetch = storage.fetch

    def fetch_at_last(*of: Any) -> Iterator[Fetched]:
        if next(times, None) is not None:
            raise InputChangedError("log", "1", "2")
        return fetch(*of)

    monkeypatch.setattr(storage, "fetch", fetch_at_last)
    monkeypatch.setattr(site.platform, "storage", lambda _: storage)
    assert site.read() == [b"a\n"], "nothing new yet"
    reader = OutputReader(site.platform, RunHandle(cluster="", run_id="r"))
    assert reader.read(0, 2, 100) == (b"", 2)
    assert reader.read(0, 2, 100) == (b"b\nc\n", 6), "who reads to the end of a run that has just ended must have it"
    assert site.read(since=2) == [b"b\nc\n", NOTE, b"d\n"]


def test_of_a_trial_it_is_the_log_of_its_own_plan(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.upload(LOG)
    row, outputs = site.row, site.row.plan.outputs
    row.plan, row.tuning_id, row.name = None, "tun-1", "t/7"
    monkeypatch.setattr(output_reading, "plan_of_trial", lambda _, tuning, trial: trial)
    trials = {("tun-1", 7): SimpleNamespace(outputs=outputs, training_id=row.id)}
    site.platform.registry.tunings = SimpleNamespace(
        get=lambda id: SimpleNamespace(id=id), trial=lambda *which: trials[which]
    )
    assert site.read() == [b"a\n", b"b\nc\n", NOTE, b"d\n"]


def test_of_a_log_that_was_not_uploaded_nothing_is_read(site: Site) -> None:
    assert site.read() == [b"a\n", NOTE, b"d\n"]


def test_a_log_that_may_not_be_read_is_told_and_holds_nothing_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: StoragePath) -> None:
        raise AccessDeniedError("bucket", "out/output.log", "read")

    monkeypatch.setattr(site.platform, "storage", refuse)
    assert site.read() == [b"a\n", NOTE, b"d\n"]
    assert "What is missing of the output of t is not read from its uploaded log" in caplog.text


def test_a_store_that_does_not_answer_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: StoragePath) -> None:
        raise StorageUnavailableError("out", "it is away")

    monkeypatch.setattr(site.platform, "storage", refuse)
    with pytest.raises(StorageUnavailableError):
        site.read()
