"""Checkpoints are uploaded while the entry point runs, whatever a store's client does meanwhile."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from blocks.domain.paths import StoragePath
from blocks.domain.plan import OutputKind, PlannedOutput
from blocks.launcher import held_files, sync
from blocks.launcher import mirror as mirrors
from blocks.launcher.mirror import Mirror
from blocks.launcher.stores import Stores
from blocks.launcher.sync import Synchroniser
from blocks.launcher.tree import FoundFile
from blocks.storage.base import LocalFile, Uploaded
from blocks.storage.directory import DirectoryStorage
from tests.waiting import wait_until

pytestmark = pytest.mark.req("TRN-08")


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Follow one worker's checkpoints as fast as that goes."""
    for name in ("PAUSE_SECONDS", "FIRST_BACKOFF_SECONDS"):
        monkeypatch.setattr(sync, name, 0.01)
    monkeypatch.setattr(mirrors, "SETTLED_SECONDS", 0)
    output = PlannedOutput(kind=OutputKind.CHECKPOINT, path=f"file://{tmp_path}/store")
    (tmp_path / "checkpoints").mkdir()
    mirror = Mirror(tmp_path / "checkpoints", output, 0)
    synchroniser = Synchroniser([mirror], Stores({}), tmp_path / "scratch", lambda _: set(), lambda *_: None)
    ended = Event()
    thread = Thread(target=synchroniser.follow, args=(ended,))
    yield thread.start
    ended.set()
    thread.join()


def test_what_nobody_has_foreseen_of_a_store_ends_no_later_upload_and_is_told(
    follow: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    upload, troubles = DirectoryStorage.upload, [RuntimeError("a client's own")]

    def failing(
        self: DirectoryStorage, files: Iterable[LocalFile], to: StoragePath, progress: Callable[[int], None]
    ) -> Iterator[Uploaded]:
        if troubles:
            raise troubles.pop()
        return upload(self, files, to, progress)

    monkeypatch.setattr(DirectoryStorage, "upload", failing)
    (tmp_path / "checkpoints" / "step").write_text("1")
    follow()
    wait_until(lambda: (tmp_path / "store" / "step").exists(), "it to arrive", 10)
    said = capsys.readouterr().err
    assert "RuntimeError: a client's own" in said
    assert "uploading while the workers run: a client's own" in said


def test_a_file_that_is_replaced_all_the_time_arrives_whole_and_leaves_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "SETTLED_SECONDS", 0)
    monkeypatch.setattr(FoundFile, "is_renamed", False)
    output = PlannedOutput(kind=OutputKind.CHECKPOINT, path=f"file://{tmp_path}/store")
    mirror = Mirror(tmp_path / "checkpoints", output, 0)
    synchroniser = Synchroniser([mirror], Stores({}), tmp_path / "scratch", lambda _: set(), lambda *_: None)
    (tmp_path / "checkpoints").mkdir()
    for number in range(1, 4):
        (tmp_path / "checkpoints" / "a.part").write_text("x" * number)
        (tmp_path / "checkpoints" / "a.part").rename(tmp_path / "checkpoints" / "a")
        synchroniser._send(mirror, synchroniser._closed(mirror, mirror.ready()))
    assert (tmp_path / "store" / "a").read_text() == "xxx"
    assert [*(tmp_path / "scratch").rglob("*")] == []
