"""Metrics for TensorBoard on a disk that has no room for them."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from blocks.domain.metrics import MetricPoint
from tasks.scalars import ScalarWriter

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)


def points(count: int) -> list[MetricPoint]:
    return [
        MetricPoint(name="loss", value=1 / step, text="", step=step, rank=0, at=NOW) for step in range(1, count + 1)
    ]


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """The kernel refuses to let any file of this process grow larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_the_scalars_with_one_warning_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room_beyond(4096), ScalarWriter(tmp_path) as scalars:
        scalars.write(points(10))
        for _ in range(3):
            scalars.write(points(1000))

    assert len(caplog.messages) == 1
    assert str(tmp_path) in caplog.messages[0]
    assert "Free some space" in caplog.messages[0]
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [scalar.step for scalar in shown[:10]] == list(range(1, 11))
