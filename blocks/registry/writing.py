"""What can be written in one transaction."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Engine, text
from sqlmodel import Session

from blocks.domain.moments import to_microseconds
from blocks.domain.plan import Usage
from blocks.registry.connection_rows import ConnectionRows
from blocks.registry.experiment_rows import ExperimentRows
from blocks.registry.flow_run_rows import FlowRunRows
from blocks.registry.metric_rows import MetricRows
from blocks.registry.reading import Row
from blocks.registry.template_rows import TemplateRows
from blocks.registry.training_rows import TrainingRows
from blocks.registry.trial_rows import TrialRows
from blocks.registry.tuning_rows import TuningRows
from blocks.registry.usage_rows import UsageRows


def new_session(engine: Engine) -> Session:
    """A session whose rows stay readable after the commit."""
    return Session(engine, expire_on_commit=False)


class Writing:
    """The rows of each family, in the same transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def rows(self, sql: str, **parameters: Any) -> list[Row]:
        """All rows of a SELECT with `:name` parameters, what was written before in this transaction included."""
        self._session.flush()  # which no SQLAlchemy before 2.1 does for plain SQL
        return [dict(row) for row in self._session.execute(text(sql), parameters).mappings()]

    @cached_property
    def experiments(self) -> ExperimentRows:
        """Experiments and their moves."""
        return ExperimentRows(self._session)

    @cached_property
    def trainings(self) -> TrainingRows:
        """Trainings, their documents, tags and moves."""
        return TrainingRows(self._session)

    @cached_property
    def templates(self) -> TemplateRows:
        """Templates."""
        return TemplateRows(self._session)

    @cached_property
    def tunings(self) -> TuningRows:
        """Tunings, their documents and moves."""
        return TuningRows(self._session)

    @cached_property
    def trials(self) -> TrialRows:
        """Trials of tunings."""
        return TrialRows(self._session)

    @cached_property
    def metrics(self) -> MetricRows:
        """Series and points."""
        return MetricRows(self._session)

    @cached_property
    def usage(self) -> UsageRows:
        """What workers used."""
        return UsageRows(self._session)

    @cached_property
    def flow_runs(self) -> FlowRunRows:
        """The journal of flow runs."""
        return FlowRunRows(self._session)

    @cached_property
    def connections(self) -> ConnectionRows:
        """The index of connections."""
        return ConnectionRows(self._session)

    def note(self, training_id: str, usage: Sequence[Usage], started: datetime | None, seen: datetime | None) -> None:
        """What the workers of a training used, that an attempt of them started, and that they were seen running."""
        if usage:
            self.usage.append(training_id, usage)
        if started:
            self.trainings.note_start(training_id, to_microseconds(started))
        if seen:
            self.trainings.note_seen(training_id, to_microseconds(seen))
