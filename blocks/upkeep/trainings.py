"""Trainings and tunings under way that no process follows: when each is taken up again, and when it is given up."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from blocks.domain.lifecycle import TrainingStatus, TuningStatus
from blocks.registry.database import Registry
from blocks.registry.records import UnderWay

PATIENCE_SECONDS = 60.0
"""So long a training may stay without a follower: one process has just created it, another is just starting."""

MOST_ATTEMPTS = 8
"""So often a training is taken up again without a move or a sign of its workers, while the cluster answers; with
`PATIENCE_SECONDS`, over four hours. Where its workers run, it is taken up once more before it is given up."""

ATTEMPTS_COUNT = timedelta(days=1)
"""So long an attempt counts: a long training on a machine that is restarted each night is never given up."""


_T = TrainingStatus

WAYS_TO_AN_END: Mapping[TrainingStatus, tuple[TrainingStatus, ...]] = {
    # Asked for, and its run is there: the registry is older than its cluster, as after a backup was restored.
    _T.CREATE_REQUESTED: (_T.CREATE_IN_PROGRESS, _T.FAIL_TRAIN_IN_PROGRESS, _T.FAIL_TRAIN),
    _T.CREATE_IN_PROGRESS: (_T.FAIL_TRAIN_IN_PROGRESS, _T.FAIL_TRAIN),
    _T.RUNNING: (_T.FAIL_TRAIN_IN_PROGRESS, _T.FAIL_TRAIN),
    _T.FAIL_TRAIN_IN_PROGRESS: (_T.FAIL_TRAIN,),
    _T.STOP_IN_PROGRESS: (_T.STOPPED,),
    _T.COMPLETE_IN_PROGRESS: (_T.COMPLETE,),
}
"""How a training that is given up, once its run has ended, comes from each status that is under way to its end."""


_U = TuningStatus

WAYS_OF_TUNINGS: Mapping[TuningStatus, tuple[TuningStatus, ...]] = {
    _U.CREATE_REQUESTED: (_U.CREATE_FAILED,),
    _U.CREATE_IN_PROGRESS: (_U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS, _U.FAIL_HYPERPARAMETER_TUNING),
    _U.RUNNING: (_U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS, _U.FAIL_HYPERPARAMETER_TUNING),
    _U.FAIL_HYPERPARAMETER_TUNING_IN_PROGRESS: (_U.FAIL_HYPERPARAMETER_TUNING,),
    _U.STOP_IN_PROGRESS: (_U.STOPPED,),
    _U.COMPLETE_IN_PROGRESS: (_U.COMPLETE,),
}
"""The same of a tuning, once the runs of its trials have ended."""


class Remedy(StrEnum):
    """What is to be done about a training or tuning that nobody follows."""

    TAKE_UP = "take up"
    GO_ON = "go on"
    """Its follower ended in order, as with `makerflow down`: it is taken up again, and no attempt has failed."""
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Unfollowed:
    """A training or tuning that nobody follows."""

    row: UnderWay
    remedy: Remedy


def unfollowed(
    registry: Registry,
    now: datetime,
    patience_seconds: float,
    *,
    died: Set[str] = frozenset(),
    ended: Set[str] = frozenset(),
) -> list[Unfollowed]:
    """The trainings and tunings that nobody follows and for which it is time, the oldest first.

    Args:
        registry: Knows them, and who is followed.
        now: The time.
        patience_seconds: So long a training may stay without a follower.
        died: The names or ids of trainings whose follower is known to be gone: for the first attempt it is now.
        ended: Of those whose follower ended in order: it is always now.
    """
    since = now - ATTEMPTS_COUNT
    rows = [*registry.overview.under_way(since), *registry.overview.tunings_under_way(since)]
    followed = registry.leased([row.id for row in rows])
    found = []
    for row in rows:
        names = {row.name, row.id}
        is_known = bool(names & ended) or (row.attempts == 0 and bool(names & died))
        if row.id not in followed and (is_known or now >= due(row, patience_seconds)):
            found.append(Unfollowed(row, _remedy(row, ended_in_order=bool(names & ended))))
    return found


def due(row: UnderWay, patience_seconds: float) -> datetime:
    """When something is to be done about a training if nobody follows it then: after each attempt twice as late."""
    return row.stirred + timedelta(seconds=patience_seconds * 2**row.attempts)


def _remedy(row: UnderWay, *, ended_in_order: bool) -> Remedy:
    if ended_in_order:
        return Remedy.GO_ON
    return Remedy.TAKE_UP if row.attempts < MOST_ATTEMPTS else Remedy.GIVE_UP
