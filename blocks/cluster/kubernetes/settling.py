"""Writes down what happens to the runs that this process follows, and does what is needed then."""

import logging
import math
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from blocks.cluster.base import Selector
from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.failures import Failures
from blocks.cluster.kubernetes.manifests import active_seconds, service_manifest
from blocks.cluster.kubernetes.names import Object, job_name, labels_of, name_of, run_name
from blocks.cluster.kubernetes.plans import plan_of
from blocks.cluster.kubernetes.progress import Needs, advance
from blocks.cluster.kubernetes.record import MOST_PASSING, RunRecord, is_informing
from blocks.cluster.kubernetes.view import JOBS, PODS, SERVICES, View
from blocks.cluster.kubernetes.writing import write
from blocks.domain.errors import ClusterUnavailableError, MakerflowError, PlaceGoneError

BATCH_SECONDS = 0.5
"""Events that only inform are written down together."""

IDLE_SECONDS = 5.0

Sidecar = tuple[str, int, int]
"""The record that it belongs to, its attempt and its worker's rank."""

Frames = dict[Sidecar, deque[dict[str, Any]]]
"""The events of sidecars that are not taken over yet, and no more of each than a record keeps."""

_UNFIT = (400, 413, 422)
"""The API server's words for an object that it takes at no time."""

LaunchJob = Callable[[RunRecord, Object], None]

logger = logging.getLogger("makerflow")


class _Followed(NamedTuple):
    """Runs that somebody follows, and since when."""

    selector: Selector
    since: float


class Settling:
    """One thread for all runs that somebody in this process follows.

    Args:
        api: The cluster.
        view: What is known of it.
        launch_job: Makes the Job of a record's attempt.
    """

    def __init__(self, api: Api, view: View, launch_job: LaunchJob) -> None:
        self._api, self._view, self._launch_job = api, view, launch_job
        self._lock = threading.Lock()
        self._followed: list[_Followed] = []
        self._frames: dict[str, Frames] = defaultdict(dict)
        self._again: dict[str, float] = {}
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._failures = Failures()
        self._thread: threading.Thread | None = None

    @contextmanager
    def following(self, selector: Selector) -> Iterator[None]:
        """Take care of these runs for as long as the block lasts."""
        with self._lock:
            followed = _Followed(selector, time.monotonic())
            self._followed.append(followed)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="settling of runs", daemon=True)
                self._thread.start()
        self._look_at(selector)
        try:
            yield
        finally:
            with self._lock:
                self._followed.remove(followed)

    def check(self, selector: Selector) -> None:
        """Say that one of these runs could not be settled for long.

        Raises:
            ClusterUnavailableError: It could not.
        """
        for run, said in self._failures.lasting():
            if (owner := self._view.seen(run).record) and matches(owner, selector):
                raise ClusterUnavailableError(f"what is due for the run {run} could not be done {said}")

    def tell(self, run: str, sidecar: Sidecar, frame: dict[str, Any], opened: float) -> None:
        """Take over an event of a sidecar, soon, where somebody follows its run.

        Args:
            run: Whose.
            sidecar: Which one.
            frame: The event.
            opened: When what it is read from was opened: of one that is older than who follows, events before this one
                were lost, and one that is younger tells all of them.
        """
        if not is_informing(frame) or not self._is_followed(run, opened):
            return
        with self._lock:
            self._frames[run].setdefault(sidecar, deque(maxlen=MOST_PASSING)).append(frame)
            self._settle_by(run, time.monotonic() + BATCH_SECONDS)

    def settle(self, run: str) -> None:
        """Bring a run's record up to what is known now, and do what is needed."""
        with self._lock:
            lock = self._locks.setdefault(run, threading.Lock())
        with lock:
            while (found := self._advance(run)) is not None:
                record, needs, written = found
                if written is not None:
                    self._do(record, needs, written)
                    return

    def _advance(self, run: str) -> tuple[RunRecord, Needs, Object | None] | None:
        """The new record, and its object once it is written; None without a run."""
        seen, record = self._view.seen(run), self._view.record(run)
        if record is None or seen.record is None:
            self._forget(run)
            return None
        was_seen = record.seen == record.attempt or bool(seen.pods_of(record.attempt))
        missing = was_seen and seen.job(record.attempt) is None and not record.is_over
        job = job_name(record.run_id, record.attempt)
        gone = missing and self._api.get(JOBS, job) is None
        new, needs = advance(record, seen, job_is_gone=gone, now=datetime.now(UTC))
        with self._lock:
            frames = self._frames.pop(run, {})
        for (life, attempt, rank), found in frames.items():
            if life == seen.record["metadata"]["uid"] and not record.is_over:
                new = new.take(attempt, rank, found)
        return new, needs, seen.record if new == record else self._write_with(run, frames, seen.record, new)

    def _write_with(self, run: str, frames: Frames, object: Object, record: RunRecord) -> Object | None:
        """Write down what was taken over; it is taken over again where that may still come to be written."""
        written = None
        try:
            written = write(self._api, self._view, object, record)
        except ApiError as error:
            if error.status in _UNFIT:
                frames = {}
            raise
        finally:
            if written is None:
                self._put_back(run, frames)
        return written

    def _forget(self, run: str) -> None:
        with self._lock:
            self._frames.pop(run, None)

    def _put_back(self, run: str, frames: Frames) -> None:
        with self._lock:
            for sidecar, found in frames.items():
                later = self._frames[run].get(sidecar, ())
                self._frames[run][sidecar] = deque([*found, *later], maxlen=MOST_PASSING)

    def _do(self, record: RunRecord, needs: Needs, owner: Object) -> None:
        run = name_of(owner)
        with self._lock:
            if needs.look_again_seconds is not None:
                self._settle_by(run, time.monotonic() + needs.look_again_seconds)
        for pod in needs.force:
            self._api.delete(PODS, pod, grace_seconds=0)
        if needs.end_job:
            self._api.delete(JOBS, job_name(record.run_id, needs.end_job))
        if needs.job:
            self._launch_job(record, owner)
        if needs.deadline and record.deadline is not None:
            self._limit(record, record.deadline)
        if needs.service:
            self._make_service(record, owner)

    def _make_service(self, record: RunRecord, owner: Object) -> None:
        """Without it workers that wait for each other would do so for ever; those that have started need it no more."""
        harmless = MakerflowError if record.told("started", record.attempt) else PlaceGoneError
        with suppress(harmless):  # also of what ends with its namespace
            self._view.put(SERVICES, self._api.apply(service_manifest(plan_of(self._api, owner, record), owner)))

    def _limit(self, record: RunRecord, deadline: float) -> None:
        """Have Kubernetes itself end what nobody ends at its deadline."""
        job = self._view.seen(run_name(record.run_id)).job(record.attempt)
        began = job["status"].get("startTime") if job else None
        if began:
            seconds = active_seconds(deadline, datetime.fromisoformat(began).timestamp())
            name = job_name(record.run_id, record.attempt)
            if limited := self._api.merge(JOBS, name, {"spec": {"activeDeadlineSeconds": seconds}}):
                self._view.put(JOBS, limited)

    def _run(self) -> None:
        turn = 0
        while True:
            now = self._view.turn()
            for run in sorted(self._view.changed_since(turn) | self._due()):
                self._settle_safely(run)
            self._view.wait(now, self._patience())
            turn = now

    def _settle_safely(self, run: str) -> None:
        try:
            if self._is_followed(run):
                self.settle(run)
            else:
                self._forget(run)
            self._failures.forget(run)
            return
        except MakerflowError as error:  # it is tried again, and whoever follows hears of what lasts
            logger.debug("The run %s could not be settled: %s", run, error)
            self._failures.note(run, error)
        except Exception as error:  # the top of a thread that must live
            logger.exception("The run %s could not be settled", run)
            self._failures.note(run, error)
        with self._lock:
            self._settle_by(run, time.monotonic() + IDLE_SECONDS)

    def _settle_by(self, run: str, at: float) -> None:
        """Have a run be settled at that time, or sooner when that is wanted already. The lock is held."""
        self._again[run] = min(at, self._again.get(run, at))

    def _due(self) -> set[str]:
        """Those whose time has come; each is told once, also when nobody here follows it."""
        with self._lock:
            due = {run for run, at in self._again.items() if at <= time.monotonic()}
            for run in due:
                del self._again[run]
            return due

    def _patience(self) -> float:
        with self._lock:
            first = min(self._again.values(), default=time.monotonic() + IDLE_SECONDS)
        return min(max(first - time.monotonic(), 0.02), IDLE_SECONDS)

    def _is_followed(self, run: str, at: float = math.inf) -> bool:
        """Whether somebody follows a run, and did so at that time."""
        record = self._view.seen(run).record
        with self._lock:
            begun = [each.selector for each in self._followed if each.since < at]
        return record is not None and any(matches(record, selector) for selector in begun)

    def _look_at(self, selector: Selector) -> None:
        """Look at what there is already."""
        with self._lock:
            for run in self._view.runs():
                self._settle_by(run, 0.0)
        self._view.wake()


def matches(record: Object, selector: Selector) -> bool:
    """Whether the run of a ConfigMap is meant."""
    meant = not selector.run_id or run_name(selector.run_id) == name_of(record)
    return meant and (not selector.labels or selector.labels.items() <= labels_of(record).items())
