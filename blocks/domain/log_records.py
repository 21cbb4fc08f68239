"""What the log store keeps: lines, what they come from, and the fields by which they are found (LOG-02)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

LOG_TYPE = "NHNCloud-AIEasyMaker"
"""What `logType` holds in every record."""

TRAINING_CATEGORY = "easymaker.training"

SOURCE_FIELDS = {
    "easymakerAppKey": "app_key",
    "category": "category",
    "logType": "log_type",
    "trainingId": "training_id",
    "trainingName": "training_name",
    "rank": "rank",
    "tuningId": "tuning_id",
    "trial": "trial",
    "endpointId": "endpoint_id",
    "endpointStageId": "endpoint_stage_id",
    "inferenceId": "inference_id",
    "action": "action",
    "modelName": "model_name",
}
"""Fields that all lines of one source share, as records and queries name them, to the attribute of `LogSource`."""


class LogLevel(StrEnum):
    """How bad it is."""

    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


@dataclass(frozen=True)
class LogSource:
    """Where lines come from; a field that does not apply is empty.

    Attributes:
        rank: The worker's number as text; empty for what the platform itself says.
    """

    app_key: str
    category: str
    log_type: str = LOG_TYPE
    training_id: str = ""
    training_name: str = ""
    rank: str = ""
    tuning_id: str = ""
    trial: str = ""
    endpoint_id: str = ""
    endpoint_stage_id: str = ""
    inference_id: str = ""
    action: str = ""
    model_name: str = ""

    @property
    def owner(self) -> str:
        """The id of what its lines are of: of trials their tuning."""
        return self.tuning_id or self.training_id or self.endpoint_id

    def values(self) -> Iterator[str]:
        """The values of its fields, in the order of `SOURCE_FIELDS`."""
        return (getattr(self, attribute) for attribute in SOURCE_FIELDS.values())


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One line, not kept yet."""

    level: LogLevel
    body: str


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line as it is kept.

    Attributes:
        position: Unique among all records, and ascending in the order in which they were kept.
        time: When it was kept, UTC.
        fields: Those of its source that are not empty, under the names of records.
    """

    position: str
    time: datetime
    level: LogLevel
    body: str
    fields: Mapping[str, str]

    def document(self) -> dict[str, str]:
        """The record as JSON, with the fields of LOG-02."""
        time = self.time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {"time": time, "logLevel": self.level.value, **self.fields, "body": self.body}
