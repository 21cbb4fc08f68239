"""The tables, as SQLModel classes. A change here needs a migration; a test compares the two.

Moments are microseconds since 1970, UTC: the same in both databases, exact, and quick to sort. Documents are JSON text
that only our own frozen models read. What a list shows is in a table of its own, apart from the wide documents, so that
going through 100,000 trainings reads little.
"""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

Key = Text().with_variant(Text(collation="C"), "postgresql")
"""Text that is sorted and compared by its bytes in both databases."""

_Serial = BigInteger().with_variant(Integer(), "sqlite")


class Table(SQLModel):
    """What all tables share: names of constraints that a migration can refer to."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )


def _key(**options: Any) -> Any:
    return Field(sa_column=Column(Key, nullable=False, **options))


def _text(default: str = "") -> Any:
    return Field(default=default, sa_column=Column(Text, nullable=False))


def _integer() -> Any:
    return Field(sa_column=Column(BigInteger, nullable=False))


def _optional_integer() -> Any:
    return Field(default=None, sa_column=Column(BigInteger, nullable=True))


def _count() -> Any:
    return Field(default=0, sa_column=Column(BigInteger, nullable=False))


class RegistryRow(Table, table=True):
    """The registry itself: one row, made with the table."""

    __tablename__ = "registry"

    id: str = _key(primary_key=True)
    created_us: int = _integer()


class ExperimentRow(Table, table=True):
    """An experiment."""

    __tablename__ = "experiment"
    __table_args__ = (
        UniqueConstraint("name"),
        Index(None, "created_us", "id"),
        Index(None, "changed_us", "id"),
        Index(None, "status", "created_us", "id"),
    )

    id: str = _key(primary_key=True)
    name: str = _key()
    description: str = _text()
    status: str = _key()
    reason: str = _text()
    created_us: int = _integer()
    changed_us: int = _integer()


class TrainingRow(Table, table=True):
    """What a list shows of a training; one with a `tuning_id` is a trial's, which no list of trainings shows."""

    __tablename__ = "training"
    __table_args__ = (
        UniqueConstraint("name"),
        Index(None, "created_us", "id", "name"),
        Index(None, "changed_us", "id"),
        Index(None, "status", "created_us", "id"),
        Index(None, "status", "id"),
        Index(None, "experiment_id", "created_us", "id"),
        Index(None, "tuning_id", "created_us", "id"),
    )

    id: str = _key(primary_key=True)
    name: str = _key()
    description: str = _text()
    experiment_id: str = Field(sa_column=Column(Key, ForeignKey("experiment.id"), nullable=False))
    status: str = _key()
    reason: str = _text()
    tags: str = _text("\n")
    created_us: int = _integer()
    changed_us: int = _integer()
    started_us: int | None = _optional_integer()
    ended_us: int | None = _optional_integer()
    paused_us: int = Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default="0"))
    seen_us: int | None = _optional_integer()
    tuning_id: str | None = Field(default=None, sa_column=Column(Key, nullable=True))


class TrainingDocumentRow(Table, table=True):
    """The wide part of a training: its documents and how far its run has been followed."""

    __tablename__ = "training_document"

    training_id: str = Field(
        sa_column=Column(Key, ForeignKey("training.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    spec: str = _text()
    planned_us: int | None = _optional_integer()
    plan: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    handle: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    event_cursor: int = _count()
    log_cursors: str = _text("{}")
    reader_states: str = _text("{}")
    uploaded: str = _text("[]")
    logs_uploaded: bool = Field(default=False, nullable=False)
    points_refused: int = _count()
    revision: int = _count()
    template: str | None = Field(default=None, sa_column=Column(Text, nullable=True))


class TrainingTagRow(Table, table=True):
    """Finds the trainings of a rare tag; a list reads `training.tags`, which says the same.

    A value can be longer than an index entry may be, so its hash is what is looked up.
    """

    __tablename__ = "training_tag"
    __table_args__ = (Index(None, "name", "value_hash", "training_id"), {"sqlite_with_rowid": False})

    training_id: str = Field(
        sa_column=Column(Key, ForeignKey("training.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    name: str = _key(primary_key=True)
    value: str = _text()
    value_hash: int = _integer()


class TuningRow(Table, table=True):
    """What a list shows of a tuning."""

    __tablename__ = "tuning"
    __table_args__ = (
        UniqueConstraint("name"),
        Index(None, "created_us", "id"),
        Index(None, "changed_us", "id"),
        Index(None, "status", "created_us", "id"),
        Index(None, "experiment_id", "created_us", "id"),
    )

    id: str = _key(primary_key=True)
    name: str = _key()
    description: str = _text()
    experiment_id: str = Field(sa_column=Column(Key, ForeignKey("experiment.id"), nullable=False))
    status: str = _key()
    reason: str = _text()
    tags: str = _text("\n")
    created_us: int = _integer()
    changed_us: int = _integer()
    started_us: int | None = _optional_integer()
    ended_us: int | None = _optional_integer()
    paused_us: int = _count()
    best_number: int | None = _optional_integer()
    best_value: float | None = None


class TuningDocumentRow(Table, table=True):
    """The wide part of a tuning."""

    __tablename__ = "tuning_document"

    tuning_id: str = Field(
        sa_column=Column(Key, ForeignKey("tuning.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    spec: str = _text()
    planned_us: int | None = _optional_integer()
    plan: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    learned: str = _text("[]")
    template: str | None = Field(default=None, sa_column=Column(Text, nullable=True))


class TrialRow(Table, table=True):
    """One trial of a tuning; what its run tells is kept with its training."""

    __tablename__ = "trial"
    __table_args__ = (Index(None, "tuning_id", "status"), Index(None, "training_id"), {"sqlite_with_rowid": False})

    tuning_id: str = Field(
        sa_column=Column(Key, ForeignKey("tuning.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    number: int = Field(sa_column=Column(BigInteger, primary_key=True, nullable=False))
    training_id: str = Field(sa_column=Column(Key, ForeignKey("training.id"), nullable=False))
    status: str = _key()
    reason: str = _text()
    verdict: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    parameters: str = _text("{}")
    objective: float | None = None
    objective_step: int | None = _optional_integer()
    runs: int = _count()
    created_us: int = _integer()
    changed_us: int = _integer()


class TemplateRow(Table, table=True):
    """A template. There are few, so nothing is kept apart from what a list shows."""

    __tablename__ = "template"
    __table_args__ = (
        UniqueConstraint("name"),
        Index(None, "created_us", "id"),
        Index(None, "changed_us", "id"),
    )

    id: str = _key(primary_key=True)
    name: str = _key()
    description: str = _text()
    tags: str = _text("\n")
    spec: str = _text()
    created_us: int = _integer()
    changed_us: int = _integer()
    revision: int = _count()


class MoveRow(Table, table=True):
    """One move of one resource's status; ids are unique over all kinds."""

    __tablename__ = "status_move"
    __table_args__ = (Index(None, "resource_id", "id"),)

    id: int | None = Field(default=None, sa_column=Column(_Serial, primary_key=True))
    resource_id: str = _key()
    at_us: int = _integer()
    source: str = _key()
    target: str = _key()
    reason: str = _text()


class SeriesRow(Table, table=True):
    """One metric of one training: exact figures over all reports, and how its points are thinned."""

    __tablename__ = "metric_series"
    __table_args__ = (UniqueConstraint("training_id", "name"),)

    id: int | None = Field(default=None, sa_column=Column(_Serial, primary_key=True))
    training_id: str = Field(sa_column=Column(Key, ForeignKey("training.id", ondelete="CASCADE"), nullable=False))
    name: str = _key()
    stride: int = Field(
        default=1, sa_column=Column(BigInteger, CheckConstraint("stride > 0", "stride"), nullable=False)
    )
    kept: int = _count()
    count: int = _count()
    not_finite: int = _count()
    first_value: float | None = None
    first_step: int = _count()
    last_value: float | None = None
    last_step: int = _count()
    last_text: str = _text()
    last_at_us: int = _count()
    last_rank: int = _count()
    min_value: float | None = None
    min_step: int | None = _optional_integer()
    max_value: float | None = None
    max_step: int | None = _optional_integer()


class PointRow(Table, table=True):
    """One kept report of a metric; `position` counts the reports of its series from 0."""

    __tablename__ = "metric_point"
    __table_args__ = ({"sqlite_with_rowid": False},)

    series_id: int = Field(
        sa_column=Column(_Serial, ForeignKey("metric_series.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    position: int = Field(sa_column=Column(BigInteger, primary_key=True, nullable=False))
    step: int = _integer()
    value: float | None = None
    text: str = _text()
    at_us: int = _integer()
    rank: int = _count()


class UsageWorkerRow(Table, table=True):
    """One worker of a training: exact figures over all samples of what it used, and how its buckets are made."""

    __tablename__ = "usage_worker"

    training_id: str = Field(
        sa_column=Column(Key, ForeignKey("training.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    rank: int = Field(sa_column=Column(BigInteger, primary_key=True, nullable=False))
    host: str = _text()
    attempt: int = _count()
    network: str = _text()
    stride: int = Field(default=1, sa_column=Column(BigInteger, nullable=False))
    samples: int = _count()
    sampled_us: int = _count()
    figures: str = _text("{}")


class UsageBucketRow(Table, table=True):
    """Samples in a row of what one worker used."""

    __tablename__ = "usage_bucket"
    __table_args__ = ({"sqlite_with_rowid": False},)

    training_id: str = Field(
        sa_column=Column(Key, ForeignKey("training.id", ondelete="CASCADE"), primary_key=True, nullable=False)
    )
    rank: int = Field(sa_column=Column(BigInteger, primary_key=True, nullable=False))
    position: int = Field(sa_column=Column(BigInteger, primary_key=True, nullable=False))
    at_us: int = _integer()
    seconds: float
    means: str = _text("{}")
    maxima: str = _text("{}")


class FlowRunRow(Table, table=True):
    """A flow run that no workflow server saw, until one was told."""

    __tablename__ = "flow_run"
    __table_args__ = (Index(None, "exported_us", "started_us"),)

    id: str = _key(primary_key=True)
    started_us: int = _integer()
    ended_us: int | None = _optional_integer()
    exported_us: int | None = _optional_integer()
    record: str = _text()


class ConnectionRow(Table, table=True):
    """The Block of this name opens this endpoint."""

    __tablename__ = "connection"
    __table_args__ = (Index(None, "endpoint"),)

    name: str = _key(primary_key=True)
    endpoint: str = _key()
    created_us: int = _integer()
