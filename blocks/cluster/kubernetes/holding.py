"""How long a run keeps the places of some workers while there is none for the others. Pure.

Kubernetes places pods one by one: of two runs of several workers each may have places that the other waits for. So what
is held in vain is given back for a while, and asked for again later. Each time it is held for longer, and for a time of
the run's own, so that one of them finds room for all. Where Kueue queues, no run is let go before there is.
"""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta

from blocks.cluster.kubernetes.conditions import condition_of
from blocks.cluster.kubernetes.names import Object
from blocks.cluster.kubernetes.record import RunRecord

HOLD_SECONDS, MOST_HOLD_SECONDS = 120.0, 1800.0
REST_SECONDS = 20.0
"""Longer than the scheduler takes to look again at a pod that found no room, which is 10 s at most."""


def held_until(record: RunRecord, pods: Mapping[int, Object]) -> datetime | None:
    """Until when the workers that have a place keep it; None when none has one, or all have.

    Args:
        record: The run's.
        pods: Rank to pod, of its attempt.
    """
    scheduled = [condition_of(pod, "PodScheduled") for pod in pods.values() if pod["spec"].get("nodeName")]
    since = [each["lastTransitionTime"] for each in scheduled if each.get("lastTransitionTime")]
    if not since or len(scheduled) == record.workers:
        return None
    own = random.Random(f"{record.run_id}/{record.attempt}").uniform(1, 2)  # noqa: S311 - no secret
    seconds = min(HOLD_SECONDS * 2**record.released, MOST_HOLD_SECONDS) * own
    return min(map(datetime.fromisoformat, since)) + timedelta(seconds=seconds)


def given_back(record: RunRecord, places: int, now: datetime) -> RunRecord:
    """The record of a run that gave back its places, and asks for all of them later."""
    return record.change(
        concluded=record.attempt,
        attempt=record.attempt + 1,
        released=record.released + 1,
        not_before=now.timestamp() + REST_SECONDS,
    ).tell(
        "queued",
        reason=f"There was room for {places} of its {record.workers} workers only, so it gave it back for a while, as"
        " others may wait for that. Use fewer workers or a smaller flavor, or install Kueue and set MAKERFLOW_QUEUE.",
    )


def is_resting(record: RunRecord) -> bool:
    """Whether it has given back its places and not asked for them again."""
    return record.not_before > 0 and record.seen < record.attempt
