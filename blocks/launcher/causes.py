"""Which exit cause an error of staging, building or uploading stands for."""

from pathlib import Path

from blocks.cluster.outcome import Outcome
from blocks.domain.errors import (
    AccessDeniedError,
    CapacityError,
    EnvironmentFailedError,
    InputChangedError,
    InputMissingError,
    InvalidInputError,
    MakerflowError,
    TransientError,
    UnknownStoreError,
)
from blocks.domain.plan import ExitCause
from blocks.launcher.tree import RefusedOutputError
from blocks.storage.disk import is_full

_STAGING: tuple[tuple[type[Exception], ExitCause], ...] = (
    (InputChangedError, ExitCause.INPUT_CHANGED),
    (InputMissingError, ExitCause.INPUT_MISSING),
    (AccessDeniedError, ExitCause.INPUT_MISSING),
    (UnknownStoreError, ExitCause.INPUT_MISSING),
    (EnvironmentFailedError, ExitCause.ENVIRONMENT_FAILED),
    (CapacityError, ExitCause.DISK_FULL),
    (TransientError, ExitCause.LOST),
)

_UPLOADING: tuple[tuple[type[Exception], ExitCause], ...] = (
    (AccessDeniedError, ExitCause.OUTPUT_DENIED),
    (UnknownStoreError, ExitCause.OUTPUT_DENIED),
    (InputMissingError, ExitCause.OUTPUT_DENIED),  # the bucket is gone
    (RefusedOutputError, ExitCause.USER_ERROR),
    (InvalidInputError, ExitCause.OUTPUT_DENIED),  # the place is none that can be written to
    (CapacityError, ExitCause.DISK_FULL),
    (TransientError, ExitCause.LOST),
)


def staging_outcome(error: Exception, home: Path) -> Outcome:
    """How a run ends that could not be prepared."""
    return _outcome(error, _STAGING, home)


def uploading_outcome(error: Exception, home: Path) -> Outcome:
    """How a run ends whose outputs could not be uploaded."""
    return _outcome(error, _UPLOADING, home)


def _outcome(error: Exception, table: tuple[tuple[type[Exception], ExitCause], ...], home: Path) -> Outcome:
    for kind, cause in table:
        if isinstance(error, kind):
            return Outcome(cause, str(error))
    if isinstance(error, OSError) and is_full(error):
        where = error.filename or home
        return Outcome(ExitCause.DISK_FULL, f"The disk of {where} is full. Free some space there, then try again.")
    if isinstance(error, MakerflowError):
        return Outcome(ExitCause.LAUNCHER_ERROR, str(error))
    said = f"{type(error).__name__}: {error}".rstrip(".")
    return Outcome(ExitCause.LAUNCHER_ERROR, f"{said}. The agent's log says more.")
