"""What the registry answers with: frozen records, apart from how they are stored."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field

from blocks.domain.lifecycle import (
    TUNING_UNDER_WAY,
    UNDER_WAY,
    ExperimentStatus,
    TrainingStatus,
    TrialStatus,
    TuningStatus,
)
from blocks.domain.plan import Frozen, RunHandle, RunPlan, Uploaded
from blocks.domain.spec_groups import OutputSpec
from blocks.domain.specs import NamedValue, TrainingSpec
from blocks.domain.templates import TemplateSpec, TemplateUse
from blocks.domain.tunings import TuningSpec


def seconds_between(started: datetime | None, ended: datetime | None, paused_seconds: float) -> float:
    """From a start to an end, or to now, without pauses; 0 before the start."""
    if started is None:
        return 0.0
    return ((ended or datetime.now(UTC)) - started).total_seconds() - paused_seconds


class Experiment(Frozen):
    """An experiment; `reason` says why its status is what it is, empty when there is nothing to say."""

    id: str
    name: str
    description: str
    status: ExperimentStatus
    reason: str
    created: datetime
    changed: datetime


class TrainingSummary(Frozen):
    """A training as a list shows it.

    Attributes:
        started: When its workers first ran.
        ended: When its workers were last seen running, once it is over, however late that is heard of; of one whose
            workers never ran, when it reached its final status.
        paused_seconds: How long of the time since its start no attempt of it ran.
        changed: When anything about it last changed, save for what following its run writes.
        tuning_id: The tuning whose trial it is; None for one of its own.
    """

    id: str
    name: str
    description: str
    experiment_id: str
    experiment_name: str
    status: TrainingStatus
    reason: str
    tags: dict[str, str]
    created: datetime
    changed: datetime
    started: datetime | None
    ended: datetime | None
    paused_seconds: float = 0.0
    tuning_id: str | None = None

    @property
    def training_seconds(self) -> float:
        """Time spent training: from the first start to the end, or to now, without what passed between attempts."""
        return seconds_between(self.started, self.ended, self.paused_seconds)


class Training(TrainingSummary):
    """A training with all that its flow needs to go on.

    Attributes:
        plan: The first plan that was kept.
        event_cursor: Sequence number of the run's last event that was dealt with.
        log_cursors: Rank to how far its output has been read.
        reader_states: Rank to the state of its metric reader, as JSON.
        uploaded: What has arrived at its place, in order.
        logs_uploaded: Whether every worker's output is at its place.
        points_refused: Metric values not stored because there were too many names, or a name was too long.
        revision: Counts the calls of `follow`; pass it as `after` so that two followers cannot both count one line.
        template: The template that it was made from.
    """

    spec: TrainingSpec
    plan: RunPlan | None
    handle: RunHandle | None
    event_cursor: int
    log_cursors: dict[int, int]
    reader_states: dict[int, Any]
    uploaded: tuple[Uploaded, ...]
    logs_uploaded: bool
    points_refused: int
    revision: int
    template: TemplateUse | None

    @property
    def current_spec(self) -> TrainingSpec:
        """Its settings with the description and the tags that it has now, for another one.

        Those of a trial have its outputs beside its tuning's folder, of which the rest is removed: `a-2` for `a/2`.
        """
        tags = tuple(NamedValue(name=name, value=value) for name, value in self.tags.items())
        outputs = self.spec.outputs if self.tuning_id is None else _beside_tuning(self.spec.outputs)
        return self.spec.model_copy(update={"description": self.description, "tags": tags, "outputs": outputs})


def _beside_tuning(outputs: OutputSpec) -> OutputSpec:
    return outputs.model_copy(
        update={name: "-".join(path.rsplit("/", 1)) for name, path in outputs.model_dump().items()}
    )


class TuningSummary(Frozen):
    """A tuning as a list shows it.

    Attributes:
        started: When its first trial was made.
        ended: When it came to rest; None while it is under way.
        paused_seconds: How long of the time since its start it rested before somebody went on with it.
        completed: Trials that SUCCEEDED or were EARLY_STOPPED.
        running: Trials that are CREATED or RUNNING.
        failed: Trials that FAILED or are METRICS_UNAVAILABLE.
        killed: Trials that were ended with the tuning.
        best_number: The best trial of those that have run.
        best_value: Its objective value.
    """

    id: str
    name: str
    description: str
    experiment_id: str
    experiment_name: str
    status: TuningStatus
    reason: str
    tags: dict[str, str]
    created: datetime
    changed: datetime
    started: datetime | None
    ended: datetime | None
    paused_seconds: float
    completed: int
    running: int
    failed: int
    killed: int
    best_number: int | None
    best_value: float | None

    @property
    def tuning_seconds(self) -> float:
        """Time taken: from the start to the end, or to now, without what passed while it rested."""
        return seconds_between(self.started, self.ended, self.paused_seconds)


class LearnedTrial(Frozen):
    """A finished trial of another tuning that this one learns from."""

    tuning: str
    number: int
    parameters: dict[str, str]
    status: TrialStatus
    objective: float | None


class Tuning(TuningSummary):
    """A tuning with all that its flow needs to go on.

    Attributes:
        plan: What all of its trials have in common: the first plan that was kept.
        learned: What it learns from, as it was when the tuning was planned.
        template: The template that it was made from.
    """

    spec: TuningSpec
    plan: RunPlan | None
    learned: tuple[LearnedTrial, ...]
    template: TemplateUse | None

    @property
    def current_spec(self) -> TuningSpec:
        """Its settings with the description and the tags that it has now."""
        tags = tuple(NamedValue(name=name, value=value) for name, value in self.tags.items())
        return self.spec.model_copy(update={"description": self.description, "tags": tags})

    @property
    def random_state(self) -> int:
        """That of its settings, or the one that its id stands for."""
        given = self.spec.search.random_state
        return int.from_bytes(hashlib.sha256(self.id.encode()).digest()[:4]) if given is None else given

    @property
    def deadline(self) -> datetime | None:
        """When its maximum time is over; None while it has not started, and when there is none."""
        minutes = self.spec.trainings.max_tuning_minutes
        if minutes is None or self.started is None:
            return None
        return self.started + timedelta(minutes=minutes, seconds=self.paused_seconds)


class Trial(Frozen):
    """A trial of a tuning.

    Attributes:
        number: From 1.
        training_id: The training that runs it; another one each time that it is run again.
        reason: Why its status is what it is.
        parameters: Its point, as the entry point gets it.
        objective: Its objective value; None when it has none.
        objective_step: The step at which it was reported.
        runs: How often it was run, from 1: what was killed with its tuning is run again when that goes on.
        verdict: What it is to be, for `reason`, once its run is ended; None while it may go on.
        started: When its training's workers first ran.
        ended: When its training was over.
        paused_seconds: How long of the time between no attempt of it ran.
    """

    tuning_id: str
    number: int
    training_id: str
    status: TrialStatus
    reason: str
    parameters: dict[str, str]
    objective: float | None
    objective_step: int | None
    runs: int
    created: datetime
    changed: datetime
    verdict: TrialStatus | None = None
    started: datetime | None = None
    ended: datetime | None = None
    paused_seconds: float = 0.0

    @property
    def training_seconds(self) -> float:
        """Time spent training: from the first start to the end, or to now, without what passed between attempts."""
        return seconds_between(self.started, self.ended, self.paused_seconds)


class TemplateSummary(Frozen):
    """A template as a list shows it."""

    id: str
    name: str
    description: str
    tags: dict[str, str]
    created: datetime
    changed: datetime


class Template(TemplateSummary):
    """A template with its settings; `revision` counts its changes."""

    spec: TemplateSpec
    revision: int


class UnderWay(Frozen):
    """A training or tuning that is under way, as upkeep looks at it.

    Attributes:
        attempts: How often it was taken up again, because its follower had died, since its status last moved and its
            workers were last seen.
        stirred: When it last moved, was changed, was planned, or was taken up again.
    """

    id: str
    name: str
    status: TrainingStatus | TuningStatus
    attempts: int
    stirred: datetime

    @property
    def kind(self) -> Literal["training", "tuning"]:
        """What it is."""
        return "tuning" if isinstance(self.status, TuningStatus) else "training"


class Standing(Frozen):
    """What is known of the training whose run was found somewhere; of a trial's also how its tuning stands."""

    name: str
    status: TrainingStatus
    logs_uploaded: bool
    tuning_status: TuningStatus | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether somebody still works on it, or will: who goes on with a tuning clears away what its trials left."""
        return self.status in UNDER_WAY or self.tuning_status in TUNING_UNDER_WAY


class Move(Frozen):
    """One move of a status. From a status to itself: it was taken up again.

    Without a source: the first one, or that all workers start again.
    """

    at: datetime
    source: str
    target: str
    reason: str

    @property
    def is_restart(self) -> bool:
        """Whether it tells that all workers start again."""
        return not self.source and bool(self.reason)


class Query(Frozen):
    """What a list shows.

    Attributes:
        status: Any of these; empty for all.
        name: A part of the name, or with `*` and `?` a pattern of the whole name; upper and lower case are the same.
        tags: All of these; None as a value means that the tag exists.
        experiment: Id or name.
        sort: `created`, `changed`, `name` or `status`; with `-` in front the other way round.
        limit: Items of one page.
        cursor: `Page.cursor` of the page before.
    """

    status: tuple[str, ...] = ()
    name: str = ""
    tags: Mapping[str, str | None] = Field(default_factory=dict)
    experiment: str = ""
    sort: str = "-created"
    limit: int = 50
    cursor: str = ""


ALL = Query()
"""The newest 50 of all."""

ItemT = TypeVar("ItemT")


class Page(Frozen, Generic[ItemT]):
    """A part of a list; `cursor` is empty on the last page."""

    items: tuple[ItemT, ...]
    cursor: str = ""


class Series(Frozen):
    """A metric's figures over all of its reports; exact, also where the curve is thinned.

    Attributes:
        count: Reports in all, those that are no number included.
        not_finite: How many of them were no finite number.
        first: The first report's value, None when it was not finite; `last` likewise.
        last_text: As it was printed.
        min: Of the finite ones, None when there is none; `max` likewise.
    """

    name: str
    count: int
    not_finite: int
    first: float | None
    first_step: int
    last: float | None
    last_step: int
    last_text: str
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


class StepRecord(Frozen):
    """One step of a flow run that no workflow server saw."""

    name: str
    state: str
    message: str
    started: datetime
    ended: datetime


class FlowRunRecord(Frozen):
    """A flow run that no workflow server saw.

    Attributes:
        parameters: As JSON; never a secret.
        artifacts: Key to (description, Markdown).
    """

    id: str
    flow_name: str
    name: str
    parameters: dict[str, Any]
    state: str
    message: str
    started: datetime
    ended: datetime | None
    steps: tuple[StepRecord, ...] = ()
    artifacts: dict[str, tuple[str, str]] = Field(default_factory=dict)


class UnendedFlowRun(Frozen):
    """A flow run that began and did not end, or not yet; `is_seen` when a workflow server sees it itself."""

    record: FlowRunRecord
    is_seen: bool


class ConnectionEntry(Frozen):
    """The Block of this name opens this endpoint; its secrets are in the Block alone."""

    name: str
    endpoint: str
    created: datetime
