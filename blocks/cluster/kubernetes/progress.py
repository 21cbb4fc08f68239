"""How a run gets on: from its record and its objects, as they are now, to the record as it is to be. Pure.

Nothing depends on who looks, or how often: what has happened since is told in order, and told once.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from blocks.cluster.gang import Restart, decide
from blocks.cluster.kubernetes.conditions import culprit, failure_reason, has_condition, is_job_over
from blocks.cluster.kubernetes.diagnosis import Trouble, diagnose
from blocks.cluster.kubernetes.exits import (
    delivery_of,
    exit_of,
    has_started,
    is_lost,
    is_over,
    is_staged,
    is_staging,
    lost_record,
    may_run,
    staged_bytes,
    started_at,
)
from blocks.cluster.kubernetes.holding import given_back, held_until, is_resting
from blocks.cluster.kubernetes.names import QUEUE, Object, job_name, name_of, rank_of
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.view import Seen
from blocks.cluster.outcome import STOPPED, Outcome
from blocks.domain.plan import ExitCause, ExitRecord, RunPhase

OVERDUE = "The time limit was reached."
UNSTARTED = "The time limit was reached before all workers had started again."
UNBEGUN = "It was stopped before its workers were started."
REMEDY = "Start it again as a copy; what it had uploaded is at its place."


@dataclass(frozen=True)
class Needs:
    """What has to be done for a run, beside writing its record down.

    Attributes:
        job: The attempt whose Job is to be made; 0 for none.
        end_job: The attempt whose Job is to be deleted, as no pod of it is to go on.
        force: Pods that have to go although their node does not answer.
        service: Whether the Service is to be made again, as somebody deleted it.
        deadline: Whether the Job is to be told the deadline.
        look_again_seconds: When time alone may change something; None when only the cluster can.
    """

    job: int = 0
    end_job: int = 0
    force: tuple[str, ...] = ()
    service: bool = False
    deadline: bool = False
    look_again_seconds: float | None = None


def advance(record: RunRecord, seen: Seen, *, job_is_gone: bool, now: datetime) -> tuple[RunRecord, Needs]:
    """The record with all that has happened, and what is needed now.

    Args:
        record: As it was read.
        seen: What this process knows of the run's objects.
        job_is_gone: Whether the API server itself says that the attempt's Job, which had been seen, does not exist.
        now: The time.
    """
    if record.is_over:
        return record, Needs(end_job=_late_job(record, seen))
    return _Step(record, seen, job_is_gone, now).take()


def _late_job(record: RunRecord, seen: Seen) -> int:
    """The attempt whose Job was ended, and is there: whoever launched it was slower than whoever stopped it."""
    job = seen.job(record.attempt) if record.ending == record.attempt else None
    return record.attempt if job is not None and not _is_deleted(job) else 0


class _Step:
    def __init__(self, record: RunRecord, seen: Seen, job_is_gone: bool, now: datetime) -> None:
        self._record, self._now = record, now
        self._attempt = record.attempt
        self._job = seen.job(record.attempt)
        self._pods = newest_pods(seen.pods_of(record.attempt))
        departed = newest_pods(seen.departed_of(record.attempt))
        self._known = {**departed, **self._pods}
        self._warnings = seen.warnings
        earlier = seen.job(record.attempt - 1)
        self._is_held = earlier is not None and not _is_deleted(earlier)
        """Whether who wrote down that places are given back died before it did so."""
        self._job_is_gone = job_is_gone
        self._is_ending = record.ending == record.attempt
        is_wanted = self._job is not None and record.stop is None and not self._is_ending
        self._lacks_service = is_wanted and record.workers > 1 and not seen.services
        self._failed = self._job is not None and has_condition(self._job, "Failed", "FailureTarget")

    def take(self) -> tuple[RunRecord, Needs]:
        """Tell what has happened, in order, and find what is needed."""
        if self._job is None and not self._job_is_gone:
            return self._record, self._rest()
        if self._record.seen < self._attempt:
            self._record = self._record.change(seen=self._attempt)
        self._tell_queue()
        if self._job_is_gone and self._record.stop is not None and not any(map(may_run, self._known.values())):
            self._finish(Outcome(ExitCause.STOPPED, STOPPED if self._record.told("started") else UNBEGUN))
            return self._record, Needs()
        self._tell_staging()
        self._tell_start()
        self._tell_exits()
        needs = self._conclude()
        if needs is None:
            needs = replace(self._hold(), service=self._lacks_service)
        return self._record, needs

    def _rest(self) -> Needs:
        """Once its time has come, what was given back is asked for again."""
        if not is_resting(self._record):
            return Needs()
        left = self._record.not_before - self._now.timestamp()
        held = self._attempt - 1 if self._is_held else 0
        return Needs(end_job=held, look_again_seconds=left) if left > 0 else Needs(end_job=held, job=self._attempt)

    def _tell_queue(self) -> None:
        """When all of its pods have a node, and what is in the way of them until they run."""
        nodes = [pod["spec"].get("nodeName") for pod in self._known.values()]
        if len(nodes) == self._record.workers and all(nodes) and not self._placed_attempt():
            where = ", ".join(sorted(set(nodes)))
            self._tell("placed", where=f"node {where}" if len(set(nodes)) == 1 else f"nodes {where}")
        trouble = None if self._record.told("started", self._attempt) else self.trouble()
        queued = self._record.told("queued")
        if trouble and (not queued or queued[-1].reason != trouble.told):
            self._tell("queued", reason=trouble.told)

    def _placed_attempt(self) -> bool:
        """Whether this attempt's placing is told: after a restart there is another."""
        kinds = [event.kind for event in self._record.events]
        since = len(kinds) - kinds[::-1].index("restarted") if "restarted" in kinds else 0
        return "placed" in kinds[since:]

    def trouble(self) -> Trouble | None:
        """What is in the way of its pods."""
        record = self._record
        return diagnose(
            self._job, list(self._pods.values()), self._warnings, record.vcpus, has_run=record.has_restarted
        )

    def _tell_staging(self) -> None:
        is_due = not (self._record.is_staged or self._record.has_restarted)
        if is_due and is_staged(self._known.get(0, _NOTHING)):
            self._tell("staging", step="inputs", finished=True, **staged_bytes(self._known[0]))

    def _tell_start(self) -> None:
        """Told once all workers run."""
        all_run = len(self._known) == self._record.workers and all(map(has_started, self._known.values()))
        if not all_run or self._record.told("started", self._attempt):
            return
        at = max(started_at(pod) for pod in self._known.values())
        deadline = self._record.deadline or at.timestamp() + self._record.time_limit_seconds
        self._record = self._record.change(deadline=deadline)
        self._tell("started", at=at, attempt=self._attempt, deadline=datetime.fromtimestamp(deadline, UTC))

    def _is_unlimited(self) -> bool:
        """Whether Kubernetes does not know yet until when its workers may run."""
        started = self._record.told("started", self._attempt)
        return bool(started and self._job and self._job["spec"].get("activeDeadlineSeconds") is None)

    def _tell_exits(self) -> None:
        told = self._record.exits(self._attempt)
        missing = sorted(set(range(self._record.workers)) - set(told))
        failed = any(r.cause is not ExitCause.OK for r in told.values())
        own = {rank for rank in missing if self._has_failed(rank)}
        found = [record for rank in missing if (record := self._exit(rank, failed or bool(own - {rank})))]
        for record in sorted(found, key=lambda each: (each.ended, each.rank)):
            self._tell("exited", record=record.model_dump(mode="json"))

    def _has_failed(self, rank: int) -> bool:
        """Whether a worker ended for a reason of its own, not because it was made to."""
        if (pod := self._known.get(rank)) is None:
            return False
        end = exit_of(pod, ended_with_others=True)
        causes = [end.cause] if end else []
        if not _is_deleted(pod):
            causes.append(delivery_of(pod).get("cause", ExitCause.OK))
        return any(cause not in (ExitCause.OK, ExitCause.STOPPED) for cause in causes)

    def _exit(self, rank: int, others: bool) -> ExitRecord | None:
        """How a worker ended; None while it has not.

        Args:
            rank: The worker.
            others: Whether another one has failed.
        """
        pod, stopping = self._known.get(rank), self._record.stop is not None
        ended = exit_of(pod, ended_with_others=self._is_made_to_end(pod, others), stopping=stopping) if pod else None
        if ended and ended.cause is ExitCause.STOPPED and not stopping and self._is_overdue():
            return ended.model_copy(update={"cause": ExitCause.TIME_LIMIT, "message": OVERDUE})
        if ended and ended.cause is ExitCause.LOST and self._job is not None and self._job["spec"].get("suspend"):
            return ended.model_copy(update={"message": _suspension(self._job)})
        if ended is None and self._is_gone(rank):
            return self._of_gone(rank, others=others or self._failed, stopping=stopping)
        return ended

    def _is_made_to_end(self, pod: Object, others: bool) -> bool:
        """Whether a pod has to end because another one failed, or because all of them are late."""
        named = culprit(self._job) if self._job is not None else ""
        return self._is_overdue() or (named != name_of(pod) if named else others)

    def _is_overdue(self) -> bool:
        """Whether Kubernetes itself ended all of it at the deadline."""
        return self._job is not None and failure_reason(self._job) == "DeadlineExceeded"

    def _is_gone(self, rank: int) -> bool:
        """Whether a worker that had a pod has none any more, and none is to come."""
        if self._job_is_gone:
            return rank not in self._pods
        return rank not in self._pods and (rank in self._known or self._job_is_over()) and self._job_is_over()

    def _job_is_over(self) -> bool:
        return self._job is not None and is_job_over(self._job)

    def _of_gone(self, rank: int, *, others: bool, stopping: bool) -> ExitRecord:
        if stopping:
            return lost_record(self._attempt, rank, STOPPED, ExitCause.STOPPED)
        if self._job_is_gone and not self._is_ending:
            return lost_record(self._attempt, rank, _job_was_deleted(self._record))
        if self._job is not None and has_condition(self._job, "Complete"):
            return lost_record(self._attempt, rank, "", ExitCause.OK)  # its pod was removed since
        if self._is_overdue():
            return lost_record(self._attempt, rank, OVERDUE, ExitCause.TIME_LIMIT)
        if others and self._record.exits(self._attempt):
            return lost_record(self._attempt, rank, "It was ended with the others.", ExitCause.STOPPED)
        return lost_record(self._attempt, rank, "Its pod is gone: somebody, or its node's failure, deleted it.")

    def _conclude(self) -> Needs | None:
        """What follows when all workers have ended, or none can be had; None while some go on."""
        if unstarted := self._unstarted():
            self._record = self._record.change(ending=self._attempt)
            self._finish(unstarted)
            return Needs(end_job=self._attempt)
        if self._job_is_gone and not self._is_ending and not self._all_delivered():
            return Needs()  # its pods are being ended, and have their grace; or they are orphaned, see `phase_of`
        records = self._record.exits(self._attempt)
        if len(records) < self._record.workers or not self._all_delivered():
            return None
        decision = verdict(self._record, self._now.timestamp())
        if isinstance(decision, Restart) and self._job_is_gone and not self._is_ending:
            decision = Outcome(ExitCause.LOST, f"{_job_was_deleted(self._record)} {REMEDY}")
        if isinstance(decision, Outcome):
            self._finish(self._delivered(decision))
            return Needs()
        return self._restart(decision)

    def _unstarted(self) -> Outcome | None:
        """How it ends when it has waited for too long; what has started, or is to stop, ends otherwise."""
        if self._record.told("started", self._attempt) or self._record.stop is not None:
            return None
        trouble, left = self.trouble(), self._left_seconds()
        if trouble and trouble.cause and self._waits_in_vain(trouble):
            return Outcome(trouble.cause, trouble.message)
        if left is not None and left <= 0 and not any(map(may_run, self._known.values())):
            return Outcome(ExitCause.TIME_LIMIT, UNSTARTED)
        return None

    def _left_seconds(self) -> float | None:
        """Until its deadline, which an earlier attempt has begun; None before one has."""
        return None if self._record.deadline is None else self._record.deadline - self._now.timestamp()

    def _waits_in_vain(self, trouble: Trouble) -> bool:
        """Whether it has lasted for too long."""
        made = self._job["metadata"]["creationTimestamp"] if self._job else self._now.isoformat()
        since = trouble.since or datetime.fromisoformat(made)
        return (self._now - since).total_seconds() >= trouble.patience_seconds

    def _restart(self, decision: Restart) -> Needs:
        self._record = restarted(self._record, decision)
        end = 0 if self._job_is_over() or self._job_ends_itself() else self._attempt
        return Needs(job=self._attempt + 1, end_job=end, force=self._unanswered())

    def _job_ends_itself(self) -> bool:
        """Whether no pod of it goes on or comes; it stays then, as who follows may still read what they printed."""
        is_held = self._job is None or self._job["spec"].get("suspend")
        return not is_held and len(self._pods) == self._record.workers and all(map(is_over, self._pods.values()))

    def _unanswered(self) -> tuple[str, ...]:
        return tuple(name_of(pod) for pod in self._pods.values() if is_lost(pod))

    def _all_delivered(self) -> bool:
        """Whether no sidecar uploads any more: its pod is over, gone or out of reach."""
        return all(is_over(pod) or is_lost(pod) for pod in self._pods.values())

    def _delivered(self, outcome: Outcome) -> Outcome:
        """Tell what was uploaded; what could not be decides the outcome of a run that went well.

        One that had to go because another could not upload something explains nothing.
        """
        deliveries = [(rank, delivery_of(pod)) for rank, pod in sorted(self._known.items())]
        logs = []
        for rank, delivery in sorted(deliveries, key=lambda each: each[1].get("cause") == ExitCause.STOPPED):
            uploads = [u for u in delivery.get("uploads") or () if self._record.is_place(u.get("path"), rank)]
            logs += [(rank, upload) for upload in uploads if upload.get("output") == "log"]
            for upload in uploads:
                if upload.get("output") != "log":
                    self._tell_upload(upload)
            cause, message = delivery.get("cause", ExitCause.OK), delivery.get("message", "")
            if outcome.cause == ExitCause.OK and cause != ExitCause.OK:
                outcome = Outcome(cause, message)
            elif outcome.cause == ExitCause.OK and rank == 0:
                outcome = Outcome(outcome.cause, message)
        self._tell_logs(logs)
        if outcome.cause == ExitCause.STOPPED and self._record.stop is None and self._is_overdue():
            return Outcome(ExitCause.TIME_LIMIT, OVERDUE)
        return outcome

    def _tell_upload(self, upload: dict[str, Any]) -> None:
        with suppress(ValueError, TypeError):
            self._tell("uploaded", **upload)

    def _tell_logs(self, uploads: Sequence[tuple[int, dict[str, Any]]]) -> None:
        """Tell of the logs once no other is on the cluster and nowhere else: the run may be removed then.

        Who waits for that need not wait for a log that there is not, nor will be.

        Args:
            uploads: Of the workers, by rank.
        """
        uploaded = {rank for rank, _ in uploads}
        if any(_has_log(pod) for rank, pod in self._pods.items() if rank not in uploaded):
            return
        nothing = [{"output": "log", "path": path, "files": 0, "bytes": 0} for path in self._record.logs]
        for upload in [upload for _, upload in uploads] or nothing:
            self._tell_upload(upload)

    def _finish(self, outcome: Outcome) -> None:
        if not any(e.output == "log" for e in self._record.told("uploaded")):
            self._tell_logs(())
        self._tell("finished", cause=outcome.cause, message=outcome.message)

    def _hold(self) -> Needs:
        """While some worker goes on: end it where another has failed, and look again where time alone decides."""
        records = self._record.exits(self._attempt)
        failed = any(record.cause is not ExitCause.OK for record in records.values())
        others = failed and len(records) < self._record.workers
        end = self._attempt if others and not self._job_is_over() and not self._job_is_gone else 0
        if end:
            self._record = self._record.change(ending=end)
        held = held_until(self._record, self._pods) if not records and self._record.stop is None else None
        if held and self._now >= held:
            return self._give_back()
        return Needs(
            end_job=end,
            force=self._unanswered() if failed else (),
            deadline=self._is_unlimited(),
            look_again_seconds=self._look_again(held),
        )

    def _look_again(self, held: datetime | None) -> float | None:
        """How long it is until time alone may change something."""
        trouble, left = self.trouble(), self._left_seconds()
        seconds = [5.0] if trouble and trouble.cause else []
        if held:
            seconds.append((held - self._now).total_seconds())
        if left is not None and left > 0 and not self._record.told("started", self._attempt):
            seconds.append(left)
        return min(seconds, default=None)

    def _give_back(self) -> Needs:
        """End those that have their places, for a while."""
        places = sum(bool(pod["spec"].get("nodeName")) for pod in self._pods.values())
        self._record = given_back(self._record, places, self._now)
        return Needs(end_job=self._attempt, look_again_seconds=self._record.not_before - self._now.timestamp())

    def _tell(self, kind: str, **fields: Any) -> None:
        self._record = self._record.tell(kind, **fields)


def verdict(record: RunRecord, now: float) -> Restart | Outcome:
    """What follows from how all workers of a record's attempt ended.

    Args:
        record: It tells how each ended.
        now: Seconds of the epoch.
    """
    return decide(
        list(record.exits(record.attempt).values()),
        record.restarts,
        restarts_used=record.restarts_used,
        out_of_memory_used=record.out_of_memory_used,
        stopping=record.stop is not None,
        overdue=record.deadline is not None and now >= record.deadline,
    )


def restarted(record: RunRecord, decision: Restart) -> RunRecord:
    """The record of the attempt that follows."""
    attempt = record.attempt + 1
    return record.change(
        concluded=record.attempt,
        attempt=attempt,
        not_before=0.0,
        restarts_used=record.restarts_used + 1,
        out_of_memory_used=record.out_of_memory_used + (decision.cause is ExitCause.OUT_OF_MEMORY),
    ).tell("restarted", attempt=attempt, cause=decision.message)


def without_job(record: RunRecord, now: float) -> RunRecord:
    """What follows for a run whose Job was deleted without its pods: they are to end, and all workers start again.

    Args:
        record: Of a run that is LOST.
        now: Seconds of the epoch.
    """
    for rank in sorted(set(range(record.workers)) - set(record.exits(record.attempt))):
        lost = lost_record(record.attempt, rank, _job_was_deleted(record))
        record = record.tell("exited", record=lost.model_dump(mode="json"))
    decision = verdict(record, now)
    if isinstance(decision, Outcome):
        return record.tell("finished", cause=decision.cause, message=decision.message)
    return restarted(record, decision)


def _suspension(job: Object) -> str:
    """Why the pods of a suspended Job had to go."""
    queue = job["metadata"].get("labels", {}).get(QUEUE)
    if queue:
        return f"It was preempted: Kueue gave its place in the queue {queue} to others."
    return f"Somebody suspended its Job {name_of(job)}."


def _job_was_deleted(record: RunRecord) -> str:
    return f"Somebody else deleted its Job, {job_name(record.run_id, record.attempt)}, from the cluster."


def _has_log(pod: Object) -> bool:
    """Whether what its worker printed can be read from it, also later."""
    return has_started(pod) and not is_lost(pod) and not _is_deleted(pod)


def _is_deleted(object: Object) -> bool:
    """Whether somebody asked for its end; it may still be there."""
    return "deletionTimestamp" in object["metadata"]


_NOTHING: Object = {"metadata": {}, "spec": {}, "status": {}}


def newest_pods(pods: Sequence[Object]) -> dict[int, Object]:
    """Rank to the pod that was made last."""
    return {rank_of(pod): pod for pod in sorted(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]))}


def phase_of(record: RunRecord, seen: Seen) -> tuple[RunPhase, str]:
    """Where a run stands, and why."""
    if record.is_over:
        return RunPhase.FINISHED, record.outcome.message
    pods = newest_pods(seen.pods_of(record.attempt))
    job = seen.job(record.attempt)
    if job is None and record.ending == record.attempt:
        return RunPhase.RUNNING, "its workers are being ended"
    if job is None and is_resting(record):
        return RunPhase.QUEUED, record.told("queued")[-1].reason
    if job is None:
        return _phase_without_job(record, list(pods.values()))
    if len(pods) == record.workers and all(map(has_started, pods.values())):
        return RunPhase.RUNNING, ""
    trouble = diagnose(job, list(pods.values()), seen.warnings, record.vcpus, has_run=record.has_restarted)
    if any(map(is_staging, pods.values())):
        return RunPhase.STAGING, trouble.told if trouble else ""
    return RunPhase.QUEUED, trouble.told if trouble else ""


def _phase_without_job(record: RunRecord, pods: Sequence[Object]) -> tuple[RunPhase, str]:
    """LOST where nothing but another launch helps; else `advance` tells the end once its pods have come to theirs."""
    name = job_name(record.run_id, record.attempt)
    if record.seen < record.attempt:
        return RunPhase.LOST, f"its Job {name} is not there"
    if any(map(_is_orphaned, pods)):
        return RunPhase.LOST, f"its Job {name} was deleted, and its workers were left without one"
    return RunPhase.RUNNING, f"its Job {name} was deleted, and its workers are being ended"


def _is_orphaned(pod: Object) -> bool:
    """Whether its Job was deleted without it. Of one that goes with its Job, Kubernetes leaves the reference to it."""
    metadata = pod["metadata"]
    owned = any(owner["kind"] == "Job" for owner in metadata.get("ownerReferences", ()))
    return not owned and not _is_deleted(pod) and not is_over(pod)


def stop_annotation(grace_seconds: float) -> str:
    """What a pod's annotation says that asks its worker to end."""
    return json.dumps({"cause": "stopped", "message": STOPPED, "grace_seconds": grace_seconds})
