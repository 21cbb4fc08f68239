"""Following a run: events move the row, lines become metrics, until the cluster says that the run is over."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic

from blocks.cluster.base import Selector
from blocks.connections.platform import Platform, open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.metric_hints import Diagnosis
from blocks.domain.metrics import MetricReader
from blocks.domain.plan import (
    ExitCause,
    Exited,
    Finished,
    OutputKind,
    Placed,
    Queued,
    Restarted,
    RunEvent,
    RunPhase,
    RunPlan,
    Started,
    Uploaded,
    Usage,
)
from blocks.registry.records import Training
from tasks.current_run import cancel_requested, has_page
from tasks.engine import step
from tasks.launch_pause import LaunchPause
from tasks.log_collection import collected_meanwhile
from tasks.metric_watch import MetricWatch
from tasks.output_reading import OutputReader
from tasks.page_log import page_log
from tasks.planning import events_directory
from tasks.publishing import publish_report
from tasks.report import training_report
from tasks.scalars import ScalarWriter
from tasks.tensorboard_events import EventsCopy
from tasks.training import DELETED, ending_of, handle_of, launch_again

IDLE_SECONDS = 0.25
CHECK_SECONDS = 2.0
FIRST_REPORT_SECONDS = 1.0
REPORT_SECONDS = 5.0
"""A report costs Prefect some hundredths of a second, so a training of a second gets its last one only."""
REPORT_SHARE_OF_TIME = 20
"""Between two reports passes so many times the time that one takes, however much there is to draw."""
CHUNK_BYTES = 4 * 2**20

logger = logging.getLogger("makerflow")


@step("follow workers")
def follow_workers(training_id: str) -> None:
    """Follow the run to its end; goes on from the cursors on the row, so that nothing is counted twice."""
    platform = open_platform()
    row = platform.registry.trainings.get(training_id)
    if row.status in _FOLLOWED:
        platform.check_cluster(row.plan)
        Follower(platform, row).run()


_FOLLOWED = (TrainingStatus.CREATE_IN_PROGRESS, TrainingStatus.RUNNING, TrainingStatus.STOP_IN_PROGRESS)


class Follower:
    """Follows one run in the calling thread."""

    def __init__(self, platform: Platform, row: Training) -> None:
        self._platform = platform
        self._row = row
        self._handle = handle_of(row)
        self._output = OutputReader(platform, self._handle)
        self._readers = {rank: reader_of(row, rank) for rank in read_ranks(row)}
        found, earlier = bool(row.reader_states.get(0)), bool(row.log_cursors.get(0))
        self._watch = MetricWatch(expressions=row.spec.metrics.expressions, found=found, earlier=earlier)
        self._scalars = ScalarWriter(events_directory(platform, row) / "metrics")
        self._events_copy = EventsCopy(platform, events_directory(platform, row))
        self._stop_is_lost = self._was_there = False
        self._next_check = 0.0
        self._launch_pause = LaunchPause()
        self._next_report = monotonic() + FIRST_REPORT_SECONDS

    def run(self) -> None:
        """Until the run is over.

        Raises:
            TransientError: The cluster or the registry did not answer; following again goes on.
        """
        platform, row = self._platform, self._row
        brought = self._events_copy.meanwhile(row.plan)
        with self._scalars, collected_meanwhile(platform, row, self._handle), brought:
            for event in self._events():
                if event is not None:
                    self._take(event)
                if isinstance(event, Finished):
                    break
                self._read_lines()
                if self._is_over():
                    break

    def _events(self) -> Iterator[RunEvent | None]:
        selector = Selector(run_id=self._handle.run_id)
        since = {self._handle.run_id: self._row.event_cursor}
        return self._platform.cluster.watch(selector, since, idle_seconds=IDLE_SECONDS)

    def _take(self, event: RunEvent) -> None:
        trainings = self._platform.registry.trainings
        match event:
            case Queued():
                self._explain(event.reason)
            case Placed():
                self._explain(f"placed on {event.where}")
            case Restarted():
                self._explain(event.said)
            case Started():
                self._running()
            case Finished():
                while self._read_lines():
                    pass
                self._end(event)
        uploaded = [event] if isinstance(event, Uploaded) else []
        for upload in uploaded:
            self._events_copy.bring(upload)
        logs = any(upload.output is OutputKind.LOG for upload in uploaded)
        self._row = trainings.follow(
            self._row.id,
            after=self._row.revision,
            event_cursor=event.sequence,
            uploaded=uploaded,
            usage=[event] if isinstance(event, Usage) else (),
            started=event.at if isinstance(event, Started) else None,  # also one that is heard of much later
            seen=seen_at(event),
            restarted=event if isinstance(event, Restarted) else None,
            logs_uploaded=logs or self._row.logs_uploaded,
        )
        if page := page_log():
            page.tell_event(event)

    def _explain(self, reason: str) -> None:
        """Why it does not run yet; one that is being stopped keeps why that is."""
        trainings = self._platform.registry.trainings
        if trainings.get(self._row.id).status is not TrainingStatus.STOP_IN_PROGRESS:
            trainings.explain(self._row.id, reason)

    def _end(self, event: Finished) -> None:
        trainings = self._platform.registry.trainings
        target = ending_of(event.cause, trainings.get(self._row.id).status)
        if target is TrainingStatus.COMPLETE_IN_PROGRESS:
            self._running()  # an agent that was killed between starting and saying so leaves that event out
        trainings.move(self._row.id, target, event.message)

    def _running(self) -> None:
        trainings = self._platform.registry.trainings
        if trainings.get(self._row.id).status is TrainingStatus.CREATE_IN_PROGRESS:
            trainings.move(self._row.id, TrainingStatus.RUNNING, f"{self._workers()} started")

    def _read_lines(self) -> bool:
        """Turn what the workers have printed since the last look into metrics; whether there was anything."""
        found = [self._read_rank(rank) for rank in self._readers]
        return any(found)

    def _read_rank(self, rank: int) -> bool:
        since = self._row.log_cursors.get(rank, 0)
        try:
            lines, cursor = self._output.read(rank, since, CHUNK_BYTES)
        except NotFoundError:  # stopped before it was launched, or lost; see `_is_gone`
            return False
        if cursor == since:
            return False
        reader = self._readers[rank]
        points = reader.read(lines, datetime.now(UTC))
        if rank == 0:
            self._watch.look(lines, points)
        self._scalars.write(points)  # a kill before the next line shows them twice in TensorBoard, never not at all
        self._row = self._platform.registry.trainings.follow(
            self._row.id,
            after=self._row.revision,
            log_cursors=self._row.log_cursors | {rank: cursor},
            reader_states=self._row.reader_states | {rank: reader.state()},
            points=points,
        )
        return True

    def _is_over(self) -> bool:
        """Now and then: whether somebody else ended the training, the run is lost, or the UI wants it cancelled."""
        now = monotonic()
        if now >= self._next_report:
            warning = self._watch.warning()
            if has_page():
                report_training(self._platform, self._row.id, self._watch.standing)
            if page := page_log():
                if warning:
                    page.warn(warning.text)
                page.tell_metrics()
            self._next_report = now + max(REPORT_SECONDS, REPORT_SHARE_OF_TIME * (monotonic() - now))
        if now < self._next_check:
            return False
        self._next_check = now + CHECK_SECONDS
        row = self._platform.registry.trainings.get(self._row.id)
        if row.status not in _FOLLOWED:
            return True
        if cancel_requested():
            self._cancel(row)
        return self._is_gone(row)

    def _is_gone(self, row: Training) -> bool:
        """Whether there is nothing left to follow; a run that died without a word is started again instead."""
        states = self._platform.cluster.find(Selector(run_id=self._handle.run_id))
        if states and states[0].phase is not RunPhase.LOST:
            self._launch_pause.end()
            self._was_there = True
            self._repeat_stop(row, is_stopping=states[0].is_stopping)
            return False
        if row.status is TrainingStatus.STOP_IN_PROGRESS or row.plan is None:
            self._platform.cluster.stop(self._handle, 0)
            return not states
        if not states and self._row.event_cursor:  # it was launched: where it stood, no cluster knows any more
            if any(trace.run_id == self._handle.run_id for trace in self._platform.cluster.traces()):
                return False  # what is left of it is going, or another version of the platform knows more of it
            if self._was_there:  # at the last look, and it ran until it was deleted
                self._platform.registry.trainings.follow(row.id, seen=datetime.now(UTC))
            target = ending_of(ExitCause.LOST, row.status)
            self._platform.registry.trainings.move(row.id, target, DELETED)
            return True
        return not self._is_launched_again(row, row.plan)

    def _is_launched_again(self, row: Training, plan: RunPlan) -> bool:
        """Whether the training goes on; while its run is lost again and again, as in a full quota, it is asked less."""
        if not self._launch_pause.is_over:
            return True
        is_launched = launch_again(self._platform, row, plan) is not None
        self._launch_pause.begin()
        return is_launched

    def _repeat_stop(self, row: Training, *, is_stopping: bool) -> None:
        """Stop the run in place of whoever has said so on the row and died before the cluster heard of it."""
        is_lost = row.status is TrainingStatus.STOP_IN_PROGRESS and not is_stopping
        if is_lost and self._stop_is_lost:  # also at the last look: who has just said so is not about to any more
            self._stop(row)
        self._stop_is_lost = is_lost

    def _cancel(self, row: Training) -> None:
        if row.status in (TrainingStatus.CREATE_IN_PROGRESS, TrainingStatus.RUNNING):
            self._platform.registry.trainings.move(row.id, TrainingStatus.STOP_IN_PROGRESS, "cancelled in the UI")
            self._stop(row)

    def _stop(self, row: Training) -> None:
        self._platform.cluster.stop(self._handle, row.plan.stop_grace_seconds if row.plan else 0.0)

    def _workers(self) -> str:
        count = self._row.spec.instances.workers
        return f"{count} worker{'s' if count > 1 else ''}"


def read_ranks(row: Training) -> range:
    """The workers whose output is read for metrics."""
    return range(row.spec.instances.workers if row.spec.metrics.all_workers else 1)


def reader_of(row: Training, rank: int) -> MetricReader:
    """What reads a worker's output, going on where an earlier process was."""
    suffix = f"/worker-{rank}" if row.spec.metrics.all_workers and rank else ""
    return MetricReader(row.spec.metrics.expressions, rank=rank, suffix=suffix, state=row.reader_states.get(rank))


def seen_at(event: RunEvent) -> datetime | None:
    """When workers ran, as this event tells; of one that was lost it is only known when that was noticed."""
    match event:
        case Usage():
            return event.at
        case Exited() if event.record.cause is not ExitCause.LOST:
            return event.record.ended
    return None


def report_training(platform: Platform, training_id: str, warning: Diagnosis | None = None) -> None:
    """Show the training on the run's page in the workflow UI, with why it has no metrics."""
    row = platform.registry.trainings.get(training_id)
    report = training_report(row, platform.registry, warning)
    publish_report(f"training-{row.id}", f"Training {row.name}: {row.status}", report)
