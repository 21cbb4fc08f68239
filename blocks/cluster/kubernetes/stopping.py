"""Ends a run: asks its workers to end, after a while ends them by force, and sees that nothing is left."""

import time
from collections.abc import Iterable

from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.exits import is_over, may_run
from blocks.cluster.kubernetes.names import STOP, Object, job_name, name_of
from blocks.cluster.kubernetes.progress import newest_pods, stop_annotation
from blocks.cluster.kubernetes.record import RunRecord, record_of
from blocks.cluster.kubernetes.settling import Settling
from blocks.cluster.kubernetes.states import alive
from blocks.cluster.kubernetes.view import JOBS, PODS, View
from blocks.cluster.kubernetes.writing import write
from blocks.domain.errors import ClusterUnavailableError
from blocks.domain.plan import ExitCause, StopReport

SETTLE_SECONDS = 15.0
"""For a worker to hear that it is to end, and for Kubernetes to tell that it has."""

UPLOAD_SECONDS = 60.0
"""For what a stopped worker left to be uploaded before it is ended by force."""

STUCK_SECONDS = 300.0
"""For what was ended by force to be gone, or to be given up with its node."""


class Stopping:
    """Ends one run, which this process follows meanwhile.

    Args:
        api: The cluster.
        view: What is known of it.
        settling: What writes down how the run ends.
        run: Its name.
    """

    def __init__(self, api: Api, view: View, settling: Settling, run: str) -> None:
        self._api, self._view, self._settling, self._run = api, view, settling, run

    def stop(self, record: RunRecord, grace_seconds: float) -> StopReport:
        """End it, and say how it ended.

        Raises:
            ClusterUnavailableError: The cluster does not answer, or somebody keeps the run's pods.
        """
        before = set(record.exits(record.attempt))
        self._ask(grace_seconds)
        self._end(grace_seconds)
        return self._report(before)

    def _ask(self, grace_seconds: float) -> None:
        """Write down that the run is to end; asked again, it only ever ends sooner."""
        while True:
            owner = self._view.seen(self._run).record
            record = record_of(owner) if owner else None  # of this very version
            if record is None or owner is None or record.is_over:
                return
            least = min(grace_seconds, record.stop if record.stop is not None else grace_seconds)
            if write(self._api, self._view, owner, record.change(stop=least)) is not None:
                return

    def _end(self, grace_seconds: float) -> None:
        """Have all pods end, and the run be over."""
        asked: set[str] = set()
        late, forced = time.monotonic() + grace_seconds + SETTLE_SECONDS + UPLOAD_SECONDS, False
        while (record := self._view.record(self._run)) is not None and not record.is_over:
            self._view.start()  # it says when nothing is heard any more
            turn = self._view.turn()
            pods = newest_pods(self._view.seen(self._run).pods_of(record.attempt))
            left = [pod for pod in pods.values() if not is_over(pod)]
            self._ask_pods(left, asked, grace_seconds)
            is_late = time.monotonic() > late
            if not any(map(may_run, left)) or (is_late and not forced):
                forced = self._end_job() and is_late
            self._settling.settle(self._run)
            if time.monotonic() > late + STUCK_SECONDS:
                raise ClusterUnavailableError(self._stuck(left))
            self._view.wait(turn, 1.0)

    def _ask_pods(self, pods: Iterable[Object], asked: set[str], grace_seconds: float) -> None:
        """Ask workers that may run, once."""
        for pod in pods:
            if may_run(pod) and name_of(pod) not in asked:
                asked.add(name_of(pod))
                annotations = {"annotations": {STOP: stop_annotation(grace_seconds)}}
                self._api.merge(PODS, name_of(pod), {"metadata": annotations})

    def _stuck(self, pods: Iterable[Object]) -> str:
        names = ", ".join(map(name_of, pods)) or f"those of the run {self._run}"
        return (
            f"its pods were ended by force, and {names} did not end for {STUCK_SECONDS:.0f} seconds; "
            "`kubectl describe pod` says what keeps one, such as a finalizer of somebody else"
        )

    def _end_job(self) -> bool:
        """End what no entry point of which runs, or what does not end otherwise; whether nobody wrote meanwhile."""
        owner = self._view.seen(self._run).record
        if owner is None:
            return False
        record = record_of(owner)  # of this very version: an older one would undo what was told since
        if record.is_over:
            return False
        if record.ending < record.attempt or record.seen < record.attempt:  # it may never have been made
            ending = record.change(seen=record.attempt, ending=record.attempt)
            if write(self._api, self._view, owner, ending) is None:
                self._settling.settle(self._run)
                return False
        self._api.delete(JOBS, job_name(record.run_id, record.attempt))
        pods = [pod for pod in self._view.seen(self._run).pods_of(record.attempt) if not is_over(pod)]
        for pod in pods:
            self._api.delete(PODS, name_of(pod), grace_seconds=0)
        return True

    def _report(self, before: set[int]) -> StopReport:
        record = self._view.record(self._run)
        if record is None:
            return StopReport()
        ended = [r for rank, r in record.exits(record.attempt).items() if rank not in before]
        stopped = [r for r in ended if r.cause is ExitCause.STOPPED and r.began is not None]
        killed = sum(r.signal == 9 for r in stopped)
        remaining = alive(self._view.seen(self._run))
        return StopReport(terminated=len(stopped) - killed, killed=killed, remaining=remaining)
