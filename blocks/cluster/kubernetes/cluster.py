"""The cluster that is a Kubernetes."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import datetime
from functools import lru_cache

from blocks.cluster.base import Cluster, Cursor, OutputRead, Secrets, Selector, Trace
from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.frames import place_of
from blocks.cluster.kubernetes.launching import GONE_SECONDS, Launching
from blocks.cluster.kubernetes.manifests import Site
from blocks.cluster.kubernetes.names import job_name, name_of, of_run, run_name
from blocks.cluster.kubernetes.progress import phase_of
from blocks.cluster.kubernetes.reading import Reading
from blocks.cluster.kubernetes.record import RunRecord, UnreadableRecordError
from blocks.cluster.kubernetes.settling import LaunchJob, Settling, matches
from blocks.cluster.kubernetes.states import CLUSTER, made, state_of, trace_of, unreadable_state
from blocks.cluster.kubernetes.stopping import Stopping
from blocks.cluster.kubernetes.streams import Streams
from blocks.cluster.kubernetes.view import JOBS, PODS, RECORDS, View
from blocks.domain.errors import InUseError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import LogLine, RunEvent, RunHandle, RunPhase, RunPlan, RunState, StopReport

LOOK_SECONDS = 5.0


class _Connection:
    """What all clusters of one namespace in this process share."""

    def __init__(self, namespace: str, configuration: str) -> None:
        self.api = Api(namespace, configuration)
        self.view = View(self.api)
        self.streams = Streams()
        self._settling: Settling | None = None

    def settling(self, launch_job: LaunchJob) -> Settling:
        """The one for all of them."""
        with _CONNECTING:
            if self._settling is None:
                self._settling = Settling(self.api, self.view, launch_job)
            return self._settling


@lru_cache(maxsize=8)
def _connection(namespace: str, configuration: str) -> _Connection:
    return _Connection(namespace, configuration)


_CONNECTING = threading.Lock()


class KubernetesCluster(Cluster):
    """Runs each worker as a pod of an Indexed Job. All state is in the namespace's objects.

    Args:
        site: What manifests depend on.
        namespace: Empty for the one that the configuration names.
        environment: Of this process: where credentials for stores and installers may be.

    Raises:
        InvalidInputError: No cluster is configured.
    """

    def __init__(self, site: Site, namespace: str = "", environment: Mapping[str, str] | None = None) -> None:
        self._site = site
        self._process = environment if environment is not None else {}
        with _CONNECTING:
            self._shared = _connection(namespace, self._process.get("KUBECONFIG", ""))
        self._launching = Launching(self._shared.api, self._shared.view, site, self._process)

    @property
    def place(self) -> str:
        """As promised, with the namespace."""
        return f"{CLUSTER}/{self._api.namespace}"

    @property
    def requests(self) -> Mapping[str, int]:
        """How many requests this process has sent, by verb and kind."""
        return dict(self._shared.api.requests)

    @property
    def _view(self) -> View:
        """What is known; an error where that is not kept young."""
        self._shared.view.start()
        return self._shared.view

    @property
    def _api(self) -> Api:
        return self._shared.api

    @property
    def _settling(self) -> Settling:
        self._shared.view.start()
        return self._shared.settling(self._launching.launch_job)

    @property
    def _reading(self) -> Reading:
        return Reading(self._api, self._view, self._shared.streams, self._settling)

    def reaches(self, path: StoragePath) -> bool:
        """As promised: no pod sees this machine's disk."""
        if path.scheme is Scheme.NAS:
            return path.authority in self._site.nas_volumes
        return path.is_object_store

    def launch(self, plan: RunPlan, secrets: Secrets | None = None) -> RunHandle:
        """As promised. The workers outlive the calling process, and the machine that it is on."""
        self._launching.launch(plan, secrets or {})
        return RunHandle(cluster=CLUSTER, run_id=plan.run_id)

    def watch(
        self, selector: Selector, since: Cursor | None = None, *, idle_seconds: float | None = None
    ) -> Iterator[RunEvent | None]:
        """As promised, by one watch for each kind of object, however many runs this process follows.

        Raises:
            ClusterUnavailableError: What it tells of them, or what is due for them, has failed for long.
        """
        read = dict(since or {})
        lives: dict[str, str] = {}
        with self._following(selector):
            turn, runs, heard = self._view.turn(), set(self._view.runs()), time.monotonic()
            while True:
                for run in sorted(runs):
                    for event in self._news(run, selector, read, lives):
                        yield event
                        heard = time.monotonic()
                if selector.run_id:
                    self._reading.listen(run_name(selector.run_id))
                if idle_seconds is not None and time.monotonic() - heard >= idle_seconds:
                    yield None
                    heard = time.monotonic()
                left = LOOK_SECONDS if idle_seconds is None else heard + idle_seconds - time.monotonic()
                self._view.wait(turn, max(min(left, LOOK_SECONDS), 0.01))
                self._settling.check(selector)
                now = self._view.turn()
                runs, turn = self._view.changed_since(turn), now

    def logs(self, handle: RunHandle, rank: int, *, follow: bool, since: int = 0) -> Iterator[LogLine]:
        """As promised, from the sidecar's log."""
        with self._following(Selector(run_id=handle.run_id)) if follow else nullcontext():
            yield from self._reading.lines(handle, rank, follow=follow, since=since)

    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        """As promised. A cursor holds the attempt and the position in its output."""
        return self._reading.read(handle, rank, since=since, at_most=at_most)

    def position_of(self, cursor: int) -> tuple[int, int]:
        """As promised."""
        return place_of(cursor)

    def stop(self, handle: RunHandle, grace_seconds: float, secrets: Secrets | None = None) -> StopReport:
        """As promised. What the workers left is uploaded before they are gone; so this may outlast the grace."""
        run = run_name(handle.run_id)
        record = self._view.read(run)
        if record is None or record.is_over:
            if record is None:
                self._api.delete_all(PODS, of_run(run), grace_seconds=0)
            return StopReport()
        with self._following(Selector(run_id=handle.run_id)):
            return Stopping(self._api, self._view, self._settling, run).stop(record, grace_seconds)

    def remove(self, handle: RunHandle) -> None:
        """As promised: the record, and with it all that it owns."""
        run = run_name(handle.run_id)
        record = self._view.read(run)
        if record is not None and not record.is_over:
            phase, _ = phase_of(record, self._view.seen(run))
            blockers = [("run", handle.run_id, str(phase))]
            raise InUseError("run", handle.run_id, "remove", blockers, "Stop it first.")
        self._shared.streams.close(run)
        for job in self._view.seen(run).jobs:
            self._api.delete(JOBS, name_of(job))
        if self._view.seen(run).pods:
            self._api.delete_all(PODS, of_run(run), grace_seconds=0)
        if self._api.delete(RECORDS, run):
            self._view.wait_until(lambda: not self._view.seen(run).jobs and not self._view.seen(run).pods, GONE_SECONDS)
        self._view.drop(RECORDS, run)

    def removal_of(self, run_id: str) -> str:
        """As promised: the record, with all that it owns, and what of a run without a record is left."""
        selector = of_run(run_name(run_id))
        return f"remove what is left of it: `kubectl delete configmap,job,pod -n {self._api.namespace} -l {selector}`"

    def find(self, selector: Selector) -> list[RunState]:
        """As promised, oldest first, from what this process watches."""
        states = [state for run in self._meant(selector) if (state := self._state(run))]
        return [state for _, state in sorted(states, key=lambda each: (each[0], each[1].handle.run_id))]

    def traces(self) -> list[Trace]:
        """As promised: records, and Jobs and pods that carry a run's label."""
        traces = (trace_of(self._view.record(run), self._view.seen(run)) for run in self._view.runs())
        return [trace for trace in traces if trace]

    def tidy(self) -> list[str]:
        """Nothing is left half made: what a record does not own, Kubernetes removes itself."""
        return []

    def _news(self, run: str, selector: Selector, read: dict[str, int], lives: dict[str, str]) -> Iterator[RunEvent]:
        """The events of a run that are not read yet; those of another life of it are all new."""
        object = self._view.seen(run).record
        if object is not None and not matches(object, selector):
            return
        record = self._view.record(run)
        if record is None or object is None:
            if run in lives:
                lives[run] = ""
            return
        uid = str(object["metadata"]["uid"])
        if lives.setdefault(run, uid) != uid:
            lives[run], read[record.run_id] = uid, 0
        if read.get(record.run_id, 0) > record.sequence:  # somebody deleted the record, and it was launched again
            read[record.run_id] = 0
        for event in record.events:
            if event.sequence > read.get(record.run_id, 0):
                read[record.run_id] = event.sequence
                yield event

    @contextmanager
    def _following(self, selector: Selector) -> Iterator[None]:
        """Take care of these runs; what their sidecars told before, when it may be that nobody did, is told again."""
        with self._settling.following(selector):
            for run in self._meant(selector):
                self._shared.streams.close(run)
            yield

    def _meant(self, selector: Selector) -> list[str]:
        runs = [run_name(selector.run_id)] if selector.run_id else self._view.runs()
        return [run for run in runs if (owner := self._view.seen(run).record) and matches(owner, selector)]

    def _state(self, run: str) -> tuple[datetime, RunState] | None:
        """When it was made, and where it stands."""
        seen = self._view.seen(run)
        try:
            record = self._view.read(run)
        except UnreadableRecordError as error:
            return (made(seen.record), unreadable_state(seen, str(error))) if seen.record else None
        return (record.created, self._known_state(run, record)) if record else None

    def _known_state(self, run: str, record: RunRecord) -> RunState:
        state = state_of(record, self._view.seen(run))
        if state.phase is RunPhase.LOST and (job := self._api.get(JOBS, job_name(record.run_id, record.attempt))):
            self._view.put(JOBS, job)  # the watch has not told yet
            return state_of(record, self._view.seen(run))
        return state
