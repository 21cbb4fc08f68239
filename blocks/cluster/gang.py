"""What becomes of all workers when one has ended: pure decisions.

Distributed workers live and die together: restarting one alone would leave the others hanging in their collectives. So
when one ends for a reason of the infrastructure, all are restarted from the last checkpoint; when one ends by its own
fault, all end.
"""

from collections.abc import Collection
from dataclasses import dataclass

from blocks.cluster.outcome import STOPPED, Outcome
from blocks.domain.plan import ExitCause, ExitRecord, RestartPolicy

RESTARTABLE = (ExitCause.LOST, ExitCause.OUT_OF_MEMORY)


@dataclass(frozen=True)
class Restart:
    """All workers are to be started again."""

    cause: ExitCause
    message: str


def decisive(records: Collection[ExitRecord]) -> ExitRecord:
    """The record that says why the attempt ended.

    One worker's death makes the others fail: their collectives raise. So a loss explains a traceback even when the
    traceback was there first; among equals the first to end explains the rest.
    """
    failed = [r for r in records if r.cause not in (ExitCause.OK, ExitCause.STOPPED)]
    asked = [r for r in records if r.cause is ExitCause.STOPPED]
    candidates = [r for r in failed if r.cause in RESTARTABLE] or failed or asked or list(records)
    return min(candidates, key=lambda record: (record.ended, record.rank))


def decide(
    records: Collection[ExitRecord],
    policy: RestartPolicy,
    *,
    restarts_used: int,
    out_of_memory_used: int,
    stopping: bool = False,
    overdue: bool = False,
) -> Restart | Outcome:
    """What follows from how all workers of an attempt ended.

    Args:
        records: One per rank.
        policy: How many restarts there may be.
        restarts_used: So many there were.
        out_of_memory_used: So many of them after an out-of-memory kill.
        stopping: Whether the user asked to stop the run.
        overdue: Whether the time limit has been reached meanwhile.
    """
    if all(record.cause is ExitCause.OK for record in records):
        return Outcome(ExitCause.OK, " ".join(_said(record, records) for record in records if record.message))
    if stopping:
        return Outcome(ExitCause.STOPPED, STOPPED)
    record = decisive(records)
    if record.cause not in RESTARTABLE:
        return Outcome(record.cause, _said(record, records))
    if overdue:
        return Outcome(ExitCause.TIME_LIMIT, f"{_said(record, records)} The time limit left no room for a restart.")
    if restarts_used >= policy.budget:
        return Outcome(record.cause, f"{_said(record, records)} {_spent(restarts_used, policy.budget)}")
    if record.cause is ExitCause.OUT_OF_MEMORY and out_of_memory_used >= policy.out_of_memory:
        return Outcome(record.cause, _said(record, records))
    return Restart(record.cause, _said(record, records))


def _said(record: ExitRecord, records: Collection[ExitRecord]) -> str:
    return f"Worker {record.rank}: {record.message}" if len(records) > 1 else record.message


def _spent(used: int, budget: int) -> str:
    if budget == 0:
        return "No restart is allowed."
    return f"It was restarted {used} times, which is all that is allowed."
