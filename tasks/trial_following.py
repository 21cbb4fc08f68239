"""What one trial's run tells: its events and its lines, kept in the registry as they come, and judged at its end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from blocks.connections.platform import Platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrainingStatus, TrialStatus
from blocks.domain.metrics import MetricPoint
from blocks.domain.plan import ExitCause, Finished, OutputKind, Queued, Restarted, RunEvent, Started, Uploaded, Usage
from blocks.domain.trials import History, Objective, objective_of
from blocks.domain.tunings import ObjectiveValue
from blocks.registry.records import Trial, Tuning
from blocks.registry.tunings import Followed, TrialMove
from tasks.following import read_ranks, reader_of, seen_at
from tasks.metric_watch import MetricWatch
from tasks.output_reading import OutputReader
from tasks.planning import events_directory
from tasks.scalars import ScalarWriter
from tasks.tensorboard_events import EventsCopy
from tasks.trial_run import TrialRun

CHUNK_BYTES = 2**17
CHUNKS_AT_ONCE = 4
"""So much is read of one trial before the next one has its turn."""

MOST_PENDING = 10_000
"""So many points are kept at once, however many lines a trial has printed: a million of them would fill the memory."""

MOST_STEPS = 10_000
"""So many values are remembered by their steps, for BEST_STEP, with that of the best step so far."""

NO_MODEL = "It went on after that and was ended, so it has left no model."
"""Of a trial that has reached the goal: a model is uploaded when the entry point ends well by itself."""

_T = TrainingStatus
_ENDINGS: Mapping[TrialStatus, tuple[TrainingStatus, ...]] = {
    TrialStatus.SUCCEEDED: (_T.COMPLETE_IN_PROGRESS, _T.COMPLETE),
    TrialStatus.METRICS_UNAVAILABLE: (_T.COMPLETE_IN_PROGRESS, _T.COMPLETE),
    TrialStatus.FAILED: (_T.FAIL_TRAIN_IN_PROGRESS, _T.FAIL_TRAIN),
    TrialStatus.KILLED: (_T.STOP_IN_PROGRESS, _T.STOPPED),
    TrialStatus.EARLY_STOPPED: (_T.STOP_IN_PROGRESS, _T.STOPPED),
}
"""The way of a trial's training from RUNNING to its end."""


@dataclass
class _Pending:
    """What was heard of a run and is not in the registry yet. Who dies meanwhile leaves it to be read again."""

    points: list[MetricPoint] = field(default_factory=list)
    usage: list[Usage] = field(default_factory=list)
    uploaded: list[Uploaded] = field(default_factory=list)
    started: datetime | None = None
    seen: datetime | None = None

    def __bool__(self) -> bool:
        return bool(self.points or self.usage or self.uploaded or self.started)


class TrialFollower:
    """Follows the run of one trial, for the control loop's thread.

    Args:
        platform: Where it runs.
        tuning: Whose trial it is.
        run: Between this and the trial's own thread.
        judge: Asked at every report of the objective; why the trial is to be ended early, or an empty text.

    Attributes:
        history: The reports of the objective metric so far.
        doubt: Why it is to be ended early, as soon as there is a reason.
    """

    def __init__(
        self, platform: Platform, tuning: Tuning, run: TrialRun, judge: Callable[[History], str] = lambda _: ""
    ) -> None:
        self.run = run
        self.trial = run.trial
        self._platform, self._tuning = platform, tuning
        self._objective = tuning.spec.objective
        self._wanted = frozenset(tuning.spec.metrics.names)
        self._judge_report, self.doubt = judge, ""
        self.history = History(self._objective.type)
        self._steps = History(self._objective.best_step_type) if self._objective.best_step_metric else None
        self._at_steps: dict[int, float] = {}
        self._pending = _Pending()
        row = run.training
        self._revision, self._cursor = row.revision, row.event_cursor
        self._log_cursors, self.logs_uploaded = dict(row.log_cursors), row.logs_uploaded
        self._training = row.status
        self._readers = {rank: reader_of(row, rank) for rank in read_ranks(row)}
        self._output = OutputReader(platform, run.handle)
        events = events_directory(platform, row)
        self._events_copy = EventsCopy(platform, events)
        self._scalars = ScalarWriter(events / "metrics", run.plan.hyperparameters, run.name)
        self._watch = MetricWatch(
            self._objective.metric, tuning.spec.metrics.expressions, earlier=bool(row.log_cursors)
        )
        if row.log_cursors:
            self._recall()
            self._judge_last()  # the earlier ones were judged when they came, by the trials that had finished by then

    @property
    def event_cursor(self) -> int:
        """The last event that was dealt with."""
        return self._cursor

    @property
    def objective(self) -> Objective | None:
        """The objective value, were this the trial's end."""
        return objective_of(self._objective, self.history, self._steps, self._at_steps)

    def leave(self) -> None:
        """Let go of a trial that runs on: another control loop will follow it."""
        self.run.leave()
        self._scalars.close()

    def take(self, event: RunEvent) -> None:
        """Take note of an event; `keep` keeps what it tells, and of the last one only `conclude` does."""
        if event.sequence <= self._cursor or isinstance(event, Finished):
            return
        self._cursor = event.sequence
        if isinstance(event, Queued):
            self._platform.registry.trainings.explain(self.trial.training_id, event.reason)
        elif isinstance(event, Restarted):
            self._platform.registry.trainings.explain(self.trial.training_id, event.said)
        elif isinstance(event, Started):
            self._pending.started = event.at
        elif isinstance(event, Usage):
            self._pending.usage.append(event)
        elif isinstance(event, Uploaded):
            self._pending.uploaded.append(event)
            self._events_copy.bring(event)
            self.logs_uploaded = self.logs_uploaded or event.output is OutputKind.LOG
        self._pending.seen = seen_at(event) or self._pending.seen

    def warning(self) -> str:
        """Why the objective has not been found, after a minute of output; told once, else empty."""
        warning = None if self.history.best is not None else self._watch.warning()
        return f"trial {self.trial.number}: {warning.text}" if warning else ""

    def catch_up(self) -> bool:
        """Read what the workers have printed, as much of it as one has a turn for; whether that was all."""
        return any(not self._read_lines() for _ in range(CHUNKS_AT_ONCE))

    def look(self) -> None:
        """Turn what the workers have printed since the last look into metrics, and keep all that is new.

        Raises:
            TransientError: The cluster or the registry does not answer.
            ConcurrentUpdateError: Somebody else follows the trial.
        """
        self.catch_up()
        if self._pending:
            self._keep_pending()

    def conclude(self, cause: ExitCause, message: str, best: float | None) -> None:
        """Judge the trial by how its run ended, and keep that; `trial` is then what became of it.

        Args:
            cause: Why the run ended.
            message: In words.
            best: The best objective value of the tuning so far.
        """
        while self._read_lines():
            pass
        objective = self.objective
        status, reason = self._judge(cause, message, objective)
        if status is TrialStatus.SUCCEEDED and cause is ExitCause.STOPPED:
            reason = f"{reason}. {NO_MODEL}"
        if status is TrialStatus.EARLY_STOPPED and self.history.last is not None:
            objective = Objective(value=self.history.last, step=self.history.last_step)
        if status not in (TrialStatus.FAILED, TrialStatus.KILLED) and self._training is _T.CREATE_IN_PROGRESS:
            self._keep(self._begin())  # an agent that was killed between starting and saying so leaves that event out
        shown = objective if status in (TrialStatus.SUCCEEDED, TrialStatus.EARLY_STOPPED) else None
        self._scalars.end(*((shown.value, shown.step) if shown else ()))
        move = TrialMove(status, reason, shown, best=self._is_best(shown, best), training=_ENDINGS[status])
        self._keep(move)
        self.trial = self._platform.registry.tunings.trial(self.trial.tuning_id, self.trial.number)

    def _judge(self, cause: ExitCause, message: str, objective: Objective | None) -> tuple[TrialStatus, str]:
        verdict, reason = self.run.verdict, self.run.reason
        if cause is ExitCause.STOPPED and verdict is not None:
            return verdict, reason
        if cause is ExitCause.STOPPED:
            return TrialStatus.KILLED, message
        if cause is not ExitCause.OK:
            return TrialStatus.FAILED, message
        if objective is None:
            return TrialStatus.METRICS_UNAVAILABLE, self._unavailable()
        return TrialStatus.SUCCEEDED, message

    def _unavailable(self) -> str:
        """Why a trial that ended well has no objective, with the lines that nearly gave one."""
        if self.history.best is not None:
            return self._not_counted()
        diagnosis = self._watch.diagnosis()
        lines = "".join(f"\n  {line}" for line in diagnosis.lines)
        nearly = f"\nNearly a match:{lines}" if lines else ""  # last: a list shows the first line
        return (
            f"It ended well, without a number for {self._objective.metric}. {diagnosis.message} What to do: "
            f"{diagnosis.suggestion} What each line gives: `makerflow metrics test {self.run.name}`.{nearly}"
        )

    def _not_counted(self) -> str:
        """Why finite values that were reported give no objective value."""
        metric, chooser = self._objective.metric, self._objective.best_step_metric
        if chooser:
            how = "a finite number" if self._steps and self._steps.reports else "reported"
            why = f"{chooser}, which chooses the step that counts, was never {how}"
        else:
            why = f"its last value, at step {self.history.last_step}, is not a finite number, and the last one counts"
        return (
            f"It ended well, without an objective value: {metric} was reported, but {why}. What to do: look at what "
            "the entry point computes, or let the best value count: --objective-value BEST."
        )

    def _is_best(self, objective: Objective | None, best: float | None) -> bool:
        return objective is not None and (best is None or self._objective.type.is_better(objective.value, best))

    def _begin(self) -> TrialMove:
        self._training = _T.RUNNING
        return TrialMove(TrialStatus.RUNNING, training=(_T.RUNNING,))

    def _keep_pending(self) -> None:
        begins = self._pending.started is not None and self._training is _T.CREATE_IN_PROGRESS
        self._keep(self._begin() if begins else None)

    def _keep(self, move: TrialMove | None) -> None:
        """Store what is pending, in one transaction with how far it was read and where it moves the trial."""
        pending, self._pending = self._pending, _Pending()
        followed = Followed(
            after=self._revision,
            event_cursor=self._cursor,
            log_cursors=self._log_cursors,
            reader_states={rank: reader.state() for rank, reader in self._readers.items()},
            uploaded=pending.uploaded,
            logs_uploaded=self.logs_uploaded,
            points=pending.points,
            usage=pending.usage,
            started=pending.started,
            seen=pending.seen,
        )
        self._platform.registry.tunings.follow(self.trial, followed, move)
        self._revision += 1

    def _read_lines(self) -> bool:
        """Whether the workers had printed anything since the last look."""
        found = [self._read_rank(rank) for rank in self._readers]
        return any(found)

    def _read_rank(self, rank: int) -> bool:
        since = self._log_cursors.get(rank, 0)
        try:
            data, cursor = self._output.read(rank, since, CHUNK_BYTES)
        except NotFoundError:  # not launched yet
            return False
        if cursor == since:
            return False
        self._log_cursors[rank] = cursor
        read = self._readers[rank].read(data, datetime.now(UTC))
        if rank == 0:
            self._watch.look(data, read)
        points = [point for point in read if not self._wanted or point.name in self._wanted]
        self._scalars.write(points)  # a kill before the next line shows them twice in TensorBoard, never not at all
        for point in points:
            self._note(point.name, point.value, point.step)
            if point.name == self._objective.metric:
                self._judge_last()
        self._pending.points += points
        if len(self._pending.points) > MOST_PENDING:
            self._keep_pending()
        return True

    def _judge_last(self) -> None:
        self.doubt = self.doubt or self._judge_report(self.history)

    def _note(self, name: str, value: float | None, step: int, report: int | None = None) -> None:
        """Take a report: the next one, or the one of that number."""
        if name == self._objective.metric:
            self.history.recall(report or self.history.reports + 1, value, step)
            if value is not None and self._objective.value is ObjectiveValue.BEST_STEP:
                self._at_steps[step] = value
                if len(self._at_steps) > MOST_STEPS:
                    self._forget_steps()
        if self._steps is not None and name == self._objective.best_step_metric:
            self._steps.add(value, step)

    def _forget_steps(self) -> None:
        """Of the values by their steps those before the latest, but for the first and that of the best step so far."""
        best = self.objective
        steps = list(self._at_steps)
        kept = {steps[0], *steps[-MOST_STEPS // 2 :]} | ({best.step} if best else set())
        self._at_steps = {step: value for step, value in self._at_steps.items() if step in kept}

    def _recall(self) -> None:
        """What an earlier process has read of this run already."""
        metrics = self._platform.registry.metrics
        for name in dict.fromkeys((self._objective.metric, self._objective.best_step_metric)):
            for report, point in metrics.numbered(self.trial.training_id, name or ""):
                self._note(name, point.value, point.step, report)


def history_of(platform: Platform, tuning: Tuning, trial: Trial) -> History:
    """The reports of the objective of a trial that is over, as far as they were kept."""
    history = History(tuning.spec.objective.type)
    for report, point in platform.registry.metrics.numbered(trial.training_id, tuning.spec.objective.metric):
        history.recall(report, point.value, point.step)
    return history


def reports_of(platform: Platform, tuning: Tuning, trial: Trial) -> int:
    """How often a trial that is over has reported the objective."""
    series = platform.registry.metrics.names(trial.training_id)
    return sum(one.count for one in series if one.name == tuning.spec.objective.metric)
