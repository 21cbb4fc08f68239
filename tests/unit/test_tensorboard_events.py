"""What workers write for TensorBoard is brought by one copy at a time."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from blocks.domain.paths import StoragePath
from blocks.storage import transfer
from tasks.tensorboard_events import _copy


def test_of_two_copies_of_a_run_the_later_one_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    under_way: list[None] = []
    most: list[int] = []

    def copy(*_: object, **__: object) -> None:
        under_way.append(None)
        most.append(len(under_way))
        time.sleep(0.1)
        under_way.pop()

    monkeypatch.setattr(transfer, "copy", copy)
    place, platform = StoragePath.parse("obs://store.example/b/events"), SimpleNamespace(storage=None)
    copies = [threading.Thread(target=_copy, args=(platform, place, tmp_path, rank)) for rank in ("", "worker-1")]
    for thread in copies:
        thread.start()
    for thread in copies:
        thread.join(30)
    assert most == [1, 1]
