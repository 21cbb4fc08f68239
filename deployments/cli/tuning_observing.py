"""Watching a tuning while its flow runs in the same process."""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import monotonic

from blocks.connections.platform import open_platform
from blocks.registry.records import Trial, Tuning, TuningSummary
from deployments.cli.observing import Observer, StatusLine
from deployments.cli.tuning_progress import TuningDisplay, TuningProgress

LOOK_AGAIN_SECONDS = 0.5
SETTINGS_SECONDS = 10.0
OVERLAP = timedelta(seconds=2)
"""So much of what was read is read again: what is written last need not bear the latest time."""


class TuningObserver(Observer):
    """Shows a tuning: each look reads its row, and those trials alone that have changed.

    Args:
        find: The row; None as long as there is none.
        display: Where it is shown.
    """

    def __init__(self, find: Callable[[], TuningSummary | None], display: TuningDisplay) -> None:
        super().__init__(display.note)
        self._find, self._display = find, display
        self._line = StatusLine[TuningSummary](display)
        self._read_to: datetime | None = None
        self._tuning: Tuning | None = None
        self._next_settings = 0.0
        self._best: Trial | None = None

    def show(self) -> None:
        """As promised."""
        while True:
            over = self._over.is_set()
            row = self._find()
            if row is not None:
                if row.ended is None:
                    self._line.show(row)
                self._display.progress(self._progress(row))
                self._line.show(row)  # an end comes after those of its trials
            if over:
                return
            self._over.wait(LOOK_AGAIN_SECONDS)

    def _progress(self, row: TuningSummary) -> TuningProgress:
        tunings = open_platform().registry.tunings
        if self._tuning is None or self._tuning.status is not row.status or monotonic() >= self._next_settings:
            self._tuning = tunings.get(row.id)  # its limits may be other ones now
            self._next_settings = monotonic() + SETTINGS_SECONDS
        since = None if self._read_to is None else self._read_to - OVERLAP
        changed = tunings.trials(row.id, changed_since=since)
        if changed:
            self._read_to = max(trial.changed for trial in changed)
        if row.best_number is not None and (self._best is None or self._best.number != row.best_number):
            self._best = tunings.trial(row.id, row.best_number)
        return TuningProgress(row, self._tuning.spec, self._tuning.deadline, self._best, changed)
