"""Metrics as TensorBoard scalars."""

import logging
import os
import socket
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from blocks.domain.metrics import MetricPoint, number

DENSE = 5_000
"""Points of one metric that are all written; past it every second one, past twice as many every fourth, and so on."""

OBJECTIVE = "Makerflow/objective"
"""The name under which a trial's objective value is shown: HParams shows the last value of a metric, not the best.

Its capital letter puts it among the first five, which are those that HParams shows until others are chosen.
"""

logger = logging.getLogger("makerflow")


class ScalarWriter:
    """Writes event files that TensorBoard reads while they grow. Nothing is made before the first point.

    They show what the registry holds, so a disk that is full is told once and ends the writing, not the training.
    TensorBoard's own writer leaves that to a thread, whose end by an error nobody can catch.

    Args:
        directory: Where the files are made.
        hyperparameters: Shown, and compared, in TensorBoard's HParams; numbers as numbers.
        name: The run's, beside them.
    """

    def __init__(self, directory: Path, hyperparameters: Mapping[str, str] | None = None, name: str = "") -> None:
        self._directory = directory
        self._hyperparameters, self._name = hyperparameters or {}, name
        self._writer: Any = None
        self._failed = False
        self._seen: Counter[str] = Counter()

    def write(self, points: Iterable[MetricPoint]) -> None:
        """Add finite points; thinned, so that a training that prints a million values stays quick to show."""
        if self._failed:
            return
        try:
            for point in points:
                if point.value is not None and self._is_shown(point.name):
                    self._add(point.name, point.value, point.step, point.at.timestamp())
            if self._writer is not None:
                self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _is_shown(self, name: str) -> bool:
        self._seen[name] += 1
        stride = 1 << max(0, (self._seen[name] // DENSE).bit_length())
        return self._seen[name] <= DENSE or self._seen[name] % stride == 0

    def end(self, objective: float | None = None, step: int = 0) -> None:
        """Say what the run has come to; one with hyperparameters is shown even when it has reported nothing.

        Args:
            objective: Its objective value, which need not be the last that it reported; None for none.
            step: At which it was reported.
        """
        if self._failed:
            return
        try:
            if self._hyperparameters:
                self._open()
            if objective is not None:
                self._add(OBJECTIVE, objective, step, time.time())
        except OSError as error:
            self._give_up(error)
        self.close()

    def close(self) -> None:
        """Write nothing any more."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except OSError as failure:
            if not self._failed:
                self._give_up(failure)

    def _add(self, name: str, value: float, step: int, wall_time: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        self._open()
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._writer.write(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())

    def _open(self) -> None:
        """Make the file, when it is not there, with what comes before all points."""
        if self._writer is not None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._writer = RecordWriter(_new_file(self._directory))
        self._writer.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        if self._hyperparameters:
            summary = hyperparameter_summary(self._hyperparameters, self._name)
            self._writer.write(Event(wall_time=time.time(), summary=summary).SerializeToString())

    def _give_up(self, error: OSError) -> None:
        self._failed = True
        logger.warning(
            "The metrics cannot be written for TensorBoard any longer, in %s: %s. Free some space there. The training "
            "goes on, and `makerflow training metrics` shows them all.", self._directory, error.strerror,
        )  # fmt: skip

    def __enter__(self) -> "ScalarWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def hyperparameter_summary(hyperparameters: Mapping[str, str], name: str) -> Any:
    """What TensorBoard's HParams plugin reads: see `tensorboard.plugins.hparams.summary_v2.hparams_pb`."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    values = {key: text if (value := number(text)) is None else value for key, text in hyperparameters.items()}
    return hparams_pb(values, trial_id=name)


def _new_file(directory: Path) -> Any:
    """A file whose name tells TensorBoard what it is and nobody else chooses, however many follow in one second."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"events.out.tfevents.{time.time_ns() // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{time.time_ns()}"
    return (directory / name).open("xb")
