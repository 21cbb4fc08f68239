"""What the platform itself says of a training or a tuning, as lines of the log store."""

from collections.abc import Mapping, Sequence

from blocks.domain.lifecycle import TrainingStatus, TuningStatus
from blocks.domain.log_records import LogEntry, LogLevel
from blocks.domain.plan import (
    Checkpointed,
    ExitCause,
    Exited,
    Finished,
    Placed,
    Queued,
    Restarted,
    RunEvent,
    Staging,
    Started,
    Uploaded,
)
from blocks.registry.records import Move


def event_entries(event: RunEvent) -> list[LogEntry]:
    """What the platform says of an event of the run; nothing of those that only show progress."""
    match event:
        case Queued(reason=reason):
            return [LogEntry(LogLevel.INFO, f"queued: {reason}")]
        case Placed(where=where):
            return [LogEntry(LogLevel.INFO, f"placed on {where}")]
        case Staging(step=what, finished=True):
            return [LogEntry(LogLevel.INFO, f"{what} staged")]
        case Started(attempt=attempt, deadline=deadline):
            return [LogEntry(LogLevel.INFO, f"attempt {attempt} started; it ends at {deadline:%Y-%m-%dT%H:%M:%SZ}")]
        case Checkpointed(path=path):
            return [LogEntry(LogLevel.INFO, f"checkpoint uploaded: {path}")]
        case Exited(record=record):
            text = f"worker {record.rank} ended ({record.cause}): {record.message}"
            return [LogEntry(_level_of(record.cause), text.removesuffix(": "))]
        case Restarted(attempt=attempt, cause=cause):
            return [LogEntry(LogLevel.WARNING, f"restarted as attempt {attempt}: {cause}")]
        case Uploaded(output=output, path=path, files=files):
            return [LogEntry(LogLevel.INFO, f"{output} uploaded: {files} file{'s' * (files != 1)} to {path}")]
        case Finished(cause=cause, message=message):
            return [LogEntry(_level_of(cause), f"the run ended ({cause}): {message}".removesuffix(": "))]
    return []


def move_entries(moves: Sequence[Move]) -> list[LogEntry]:
    """What the platform says of moves of the status."""
    return [
        LogEntry(_STATUS_LEVELS.get(move.target, LogLevel.INFO), f"{move.target}: {move.reason}".removesuffix(": "))
        for move in moves
    ]


_STATUS_LEVELS: Mapping[str, LogLevel] = {
    TrainingStatus.CREATE_FAILED: LogLevel.ERROR,
    TrainingStatus.FAIL_TRAIN_IN_PROGRESS: LogLevel.ERROR,
    TrainingStatus.FAIL_TRAIN: LogLevel.ERROR,
    TuningStatus.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS: LogLevel.ERROR,
    TuningStatus.FAIL_HYPERPARAMETER_TUNING: LogLevel.ERROR,
    TrainingStatus.STOP_IN_PROGRESS: LogLevel.WARNING,
    TrainingStatus.STOPPED: LogLevel.WARNING,
}


def _level_of(cause: ExitCause) -> LogLevel:
    usual = {ExitCause.OK: LogLevel.INFO, ExitCause.STOPPED: LogLevel.WARNING}
    return usual.get(cause, LogLevel.ERROR)
