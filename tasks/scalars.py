"""Metrics as TensorBoard scalars."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from blocks.domain.metrics import MetricPoint

DENSE = 5_000
"""Points of one metric that are all written; past it every second one, past twice as many every fourth, and so on."""


class ScalarWriter:
    """Writes event files that TensorBoard reads while they grow. Nothing is made before the first point."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writer: Any = None
        self._seen: Counter[str] = Counter()

    def write(self, points: Iterable[MetricPoint]) -> None:
        """Add finite points; thinned, so that a training that prints a million values stays quick to show."""
        for point in points:
            if point.value is None:
                continue
            self._seen[point.name] += 1
            stride = 1 << max(0, (self._seen[point.name] // DENSE).bit_length())
            if self._seen[point.name] <= DENSE or self._seen[point.name] % stride == 0:
                self._add(point.name, point.value, point.step, point.at.timestamp())
        if self._writer is not None:
            self._writer.flush()

    def _add(self, name: str, value: float, step: int, wall_time: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._writer is None:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter

            self._directory.mkdir(parents=True, exist_ok=True)
            self._writer = EventFileWriter(str(self._directory))
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._writer.add_event(Event(wall_time=wall_time, step=step, summary=summary))

    def __enter__(self) -> "ScalarWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
