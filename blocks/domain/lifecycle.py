"""The life cycle of each resource: one table of allowed moves, in the reference's exact words."""

from collections.abc import Mapping, Set
from enum import StrEnum
from typing import Generic, TypeVar

from blocks.domain.errors import IllegalTransitionError


class ExperimentStatus(StrEnum):
    """What an experiment can be."""

    CREATE_REQUESTED = "CREATE REQUESTED"
    CREATE_IN_PROGRESS = "CREATE IN PROGRESS"
    CREATE_FAILED = "CREATE FAILED"
    ACTIVE = "ACTIVE"


class TrainingStatus(StrEnum):
    """What a training can be."""

    CREATE_REQUESTED = "CREATE REQUESTED"
    CREATE_IN_PROGRESS = "CREATE IN PROGRESS"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    COMPLETE = "COMPLETE"
    STOP_IN_PROGRESS = "STOP IN PROGRESS"
    FAIL_TRAIN = "FAIL TRAIN"
    CREATE_FAILED = "CREATE FAILED"
    FAIL_TRAIN_IN_PROGRESS = "FAIL TRAIN IN PROGRESS"
    COMPLETE_IN_PROGRESS = "COMPLETE IN PROGRESS"


class TuningStatus(StrEnum):
    """What a tuning can be."""

    CREATE_REQUESTED = "CREATE REQUESTED"
    CREATE_IN_PROGRESS = "CREATE IN PROGRESS"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    COMPLETE = "COMPLETE"
    STOP_IN_PROGRESS = "STOP IN PROGRESS"
    FAIL_HYPERPARAMETER_TUNING = "FAIL HYPERPARAMETER TUNING"
    CREATE_FAILED = "CREATE FAILED"
    FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS = "FAIL HYPERPARAMETER TUNING IN PROGRESS"
    COMPLETE_IN_PROGRESS = "COMPLETE IN PROGRESS"


class TrialStatus(StrEnum):
    """What a trial of a tuning can be."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    KILLED = "KILLED"
    FAILED = "FAILED"
    METRICS_UNAVAILABLE = "METRICS_UNAVAILABLE"
    EARLY_STOPPED = "EARLY_STOPPED"


StatusT = TypeVar("StatusT", bound=StrEnum)


class Lifecycle(Generic[StatusT]):
    """The allowed moves of one kind of resource.

    Args:
        kind: The resource's name in messages and commands, e.g. `training`.
        moves: For every status, the statuses that it can move to. A status with none is final.

    Raises:
        ValueError: A status has no row in the table.
    """

    def __init__(self, kind: str, moves: Mapping[StatusT, Set[StatusT]]) -> None:
        self.kind = kind
        self.moves = {source: frozenset(targets) for source, targets in moves.items()}
        missing = {s for s in type(next(iter(moves))) if s not in self.moves}
        if missing:
            raise ValueError(f"The life cycle of a {kind} does not say where {sorted(missing)} can move")

    def allows(self, source: StatusT, target: StatusT) -> bool:
        """Whether `source` can become `target` in one move."""
        return target in self.moves[source]

    def check(self, id: str, source: StatusT, target: StatusT) -> None:
        """Refuse a move that the table does not hold.

        Raises:
            IllegalTransitionError: It names both statuses and where `source` can move instead.
        """
        if not self.allows(source, target):
            raise IllegalTransitionError(self.kind, id, source, target, sorted(self.moves[source]))

    def is_final(self, status: StatusT) -> bool:
        """Whether there is no way out of `status`."""
        return not self.moves[status]


_E, _T = ExperimentStatus, TrainingStatus

EXPERIMENT: Lifecycle[ExperimentStatus] = Lifecycle(
    "experiment",
    {
        _E.CREATE_REQUESTED: {_E.CREATE_IN_PROGRESS, _E.CREATE_FAILED},
        _E.CREATE_IN_PROGRESS: {_E.ACTIVE, _E.CREATE_FAILED},
        # Retry (EXP-02) goes on from what is there.
        _E.CREATE_FAILED: {_E.CREATE_IN_PROGRESS},
        _E.ACTIVE: set(),
    },
)

TRAINING: Lifecycle[TrainingStatus] = Lifecycle(
    "training",
    {
        _T.CREATE_REQUESTED: {_T.CREATE_IN_PROGRESS, _T.CREATE_FAILED, _T.STOP_IN_PROGRESS},
        _T.CREATE_IN_PROGRESS: {_T.RUNNING, _T.CREATE_FAILED, _T.FAIL_TRAIN_IN_PROGRESS, _T.STOP_IN_PROGRESS},
        _T.RUNNING: {_T.COMPLETE_IN_PROGRESS, _T.FAIL_TRAIN_IN_PROGRESS, _T.STOP_IN_PROGRESS},
        _T.STOP_IN_PROGRESS: {_T.STOPPED},
        _T.FAIL_TRAIN_IN_PROGRESS: {_T.FAIL_TRAIN},
        # Removing the workers can still find that an output did not arrive.
        _T.COMPLETE_IN_PROGRESS: {_T.COMPLETE, _T.FAIL_TRAIN_IN_PROGRESS},
        # Asked for again (COM-10): creation starts from what is there.
        _T.CREATE_FAILED: {_T.CREATE_IN_PROGRESS},
        _T.STOPPED: set(),
        _T.COMPLETE: set(),
        _T.FAIL_TRAIN: set(),
    },
)

UNDER_WAY = frozenset(s for s in TrainingStatus if not TRAINING.is_final(s) and s is not TrainingStatus.CREATE_FAILED)
"""Where something of a training may still happen by itself; CREATE FAILED is not final, but rests until resumed."""

_U, _R = TuningStatus, TrialStatus

TUNING: Lifecycle[TuningStatus] = Lifecycle(
    "tuning",
    {
        _U.CREATE_REQUESTED: {_U.CREATE_IN_PROGRESS, _U.CREATE_FAILED, _U.STOP_IN_PROGRESS},
        _U.CREATE_IN_PROGRESS: {
            _U.RUNNING,
            _U.CREATE_FAILED,
            _U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS,
            _U.STOP_IN_PROGRESS,
        },
        _U.RUNNING: {_U.COMPLETE_IN_PROGRESS, _U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS, _U.STOP_IN_PROGRESS},
        _U.STOP_IN_PROGRESS: {_U.STOPPED},
        _U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS: {_U.FAIL_HYPERPARAMETER_TUNING},
        _U.COMPLETE_IN_PROGRESS: {_U.COMPLETE, _U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS},
        # Asked for again (COM-10), and gone on with under raised limits (TUN-17): what is finished stays.
        _U.CREATE_FAILED: {_U.CREATE_IN_PROGRESS},
        _U.STOPPED: {_U.CREATE_IN_PROGRESS},
        _U.COMPLETE: {_U.CREATE_IN_PROGRESS},
        _U.FAIL_HYPERPARAMETER_TUNING: {_U.CREATE_IN_PROGRESS},
    },
)

TUNING_ENDINGS = frozenset({_U.STOPPED, _U.COMPLETE, _U.FAIL_HYPERPARAMETER_TUNING})
"""Where a tuning rests when it has run, until somebody goes on with it."""

TUNING_UNDER_WAY = frozenset(TuningStatus) - TUNING_ENDINGS - {_U.CREATE_FAILED}
"""Where something of a tuning may still happen by itself."""

TRIAL: Lifecycle[TrialStatus] = Lifecycle(
    "trial",
    {
        _R.CREATED: {_R.RUNNING, _R.KILLED, _R.FAILED},
        _R.RUNNING: {_R.SUCCEEDED, _R.KILLED, _R.FAILED, _R.METRICS_UNAVAILABLE, _R.EARLY_STOPPED},
        # Ended with its tuning, not by itself: going on with the tuning runs it again.
        _R.KILLED: {_R.CREATED},
        _R.SUCCEEDED: set(),
        _R.FAILED: set(),
        _R.METRICS_UNAVAILABLE: set(),
        _R.EARLY_STOPPED: set(),
    },
)

TRIAL_FINISHED = frozenset(status for status in TrialStatus if TRIAL.is_final(status))
"""Where a trial counts as a training that has run."""

TRIAL_FAILED = frozenset({_R.FAILED, _R.METRICS_UNAVAILABLE})
"""Where it counts as failed."""
