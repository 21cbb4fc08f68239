"""What the cluster cannot tell any more of a worker's output is read from its uploaded log, in order and once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blocks.cluster.base import OutputRead
from blocks.cluster.kubernetes.frames import cursor_of, place_of
from blocks.cluster.uploaded_log import BEGINS
from blocks.domain.errors import AccessDeniedError, StorageUnavailableError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput, RunHandle
from blocks.storage.open import open_storage
from tasks import output_reading
from tasks.output_reading import OutputReader

NOTE = b"[makerflow: the end of attempt 1 may be missing here]\n"
LOG = b"a\nb\nc\n" + BEGINS % 2 + b"d\n"


class Cluster:
    """Of a run whose first attempt's output is known to its first line only, and the second one's whole."""

    position_of = staticmethod(place_of)

    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        attempt, position = place_of(since)
        if attempt == 1:
            return OutputRead(b"a\n", 2) if position < 2 else OutputRead(NOTE, cursor_of(2, 0), cut_at=since)
        return OutputRead(b"d\n", cursor_of(2, 2)) if position < 2 else OutputRead(b"", since)


class Site:
    """Where the run is, and its uploaded log may be."""

    def __init__(self, directory: Path) -> None:
        outputs = (PlannedOutput(kind=OutputKind.LOG, path=f"file://{directory}/out"),)
        row = SimpleNamespace(name="t", tuning_id=None, plan=SimpleNamespace(outputs=outputs))
        self.directory = directory
        self.platform: Any = SimpleNamespace(
            cluster=Cluster(),
            registry=SimpleNamespace(trainings=SimpleNamespace(get=lambda _: row), tunings=None),
            storage=lambda path: open_storage(path, None),
            settings=SimpleNamespace(home=directory / "home", cache_gb=1),
        )

    def upload(self, log: bytes, rank: int = 0) -> None:
        place = self.directory / "out" / (f"worker-{rank}" if rank else "")
        place.mkdir(parents=True)
        (place / "output.log").write_bytes(log)

    def read(self, rank: int = 0) -> list[bytes]:
        reader, since, found = OutputReader(self.platform, RunHandle(cluster="", run_id="r")), 0, []
        while (read := reader.read(rank, since, 100))[1] != since:
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


def test_a_long_rest_comes_in_pieces(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_reading, "UPLOADED_BYTES", 3)
    site.upload(LOG)
    assert site.read() == [b"a\n", b"b\n", b"c\n", NOTE, b"d\n"]


def test_of_a_log_that_was_not_uploaded_nothing_is_read(site: Site) -> None:
    assert site.read() == [b"a\n", NOTE, b"d\n"]


def test_a_log_that_may_not_be_read_is_told_and_holds_nothing_up(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: StoragePath) -> None:
        raise AccessDeniedError("bucket", "out/output.log", "read")

    monkeypatch.setattr(site.platform, "storage", refuse)
    assert site.read() == [b"a\n", NOTE, b"d\n"]
    assert "What t printed last is not read from its uploaded log" in caplog.text


def test_a_store_that_does_not_answer_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: StoragePath) -> None:
        raise StorageUnavailableError("out", "it is away")

    monkeypatch.setattr(site.platform, "storage", refuse)
    with pytest.raises(StorageUnavailableError):
        site.read()
