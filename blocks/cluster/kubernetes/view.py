"""What this process knows of all runs: one watch for each kind of object, however many runs it follows.

It is what client-go calls an informer: a list, then a watch from its version on, again after a while; bookmarks keep
the version young, a version that is too old (410) begins with a list again, a stream that breaks is taken up after a
pause that grows.
"""

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import urllib3

from blocks.cluster.kubernetes.api import Api, ApiError, refusal
from blocks.cluster.kubernetes.failures import Failures
from blocks.cluster.kubernetes.names import MANAGED, Object, attempt_of, is_of, name_of, run_of, version_of
from blocks.cluster.kubernetes.record import RunRecord, UnreadableRecordError, record_of
from blocks.domain.errors import ClusterUnavailableError

RECORDS, JOBS, PODS, SERVICES, WARNINGS = "configmaps", "jobs", "pods", "services", "events"
WATCH_SECONDS = 290
UNMARKED_SECONDS = 120
"""The same of a kind for which no bookmarks come: there, silence says nothing."""

SILENT_SECONDS = 150.0
"""What tells nothing for so long is dead: bookmarks come each minute, but the first may be left out."""

SHORT_SECONDS = 1.0
"""A watch that ends sooner, and without a word, is none."""

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.2, 10.0
LIST_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
MOST_TURNS = 100_000
_NAME_OF_OURS = "mf-"

logger = logging.getLogger("makerflow")


@dataclass(frozen=True)
class Seen:
    """The objects of one run, as this process sees them.

    Attributes:
        record: None when there is none.
        pods: Of all attempts.
        services: By whose names workers find each other.
        departed: Pods of the last two attempts that this process has seen, as they were when they were deleted.
        warnings: What Kubernetes complained of, of its objects.
    """

    record: Object | None = None
    jobs: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    departed: tuple[Object, ...] = ()
    warnings: tuple[Object, ...] = ()

    def job(self, attempt: int) -> Object | None:
        """An attempt's Job."""
        return next((job for job in self.jobs if attempt_of(job) == attempt), None)

    def pods_of(self, attempt: int) -> list[Object]:
        """An attempt's pods."""
        return [pod for pod in self.pods if attempt_of(pod) == attempt]

    def departed_of(self, attempt: int) -> list[Object]:
        """An attempt's pods that are not there any more."""
        return [pod for pod in self.departed if attempt_of(pod) == attempt]


@dataclass
class _Kind:
    objects: dict[str, Object] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    """Names of what was deleted lately, and the version at which it was seen to be gone."""
    by_run: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


class View:
    """Keeps what it is told; its threads live as long as the process."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kinds = {kind: _Kind() for kind in (RECORDS, JOBS, PODS, SERVICES, WARNINGS)}
        self._listed: set[str] = set()
        self._departed: dict[str, dict[str, Object]] = {}
        self._records: dict[str, tuple[int, RunRecord | str]] = {}
        """Their versions, and what was read, or why it cannot be."""
        self._changed = threading.Condition()
        self._turn = 0
        self._turns: dict[str, int] = {}
        self._first_failure: Exception | None = None
        self._failures = Failures()
        self._started = False

    def start(self) -> None:
        """Begin to watch, and wait for the first look.

        Raises:
            ClusterUnavailableError: The API server does not answer, or what is known has not been kept young for long.
            ApiError: It refuses.
        """
        with self._changed:
            if not self._started:
                self._started = True
                for kind in self._kinds:
                    threading.Thread(target=self._follow, args=(kind,), name=f"watch of {kind}", daemon=True).start()
            if not self._changed.wait_for(lambda: self._first_failure or self._is_listed(), LIST_SECONDS):
                raise ClusterUnavailableError(f"the API server {self._api.host} does not answer")
            if not self._is_listed() and self._first_failure:
                failure, self._first_failure = self._first_failure, None
                raise failure
        for kind, said in self._failures.lasting():
            raise ClusterUnavailableError(f"the API server {self._api.host} does not tell of its {kind} {said}")

    def runs(self) -> list[str]:
        """The names of all runs of which there is anything."""
        with self._changed:
            return sorted({run for kind in self._kinds.values() for run, names in kind.by_run.items() if names and run})

    def seen(self, run: str) -> Seen:
        """What there is of a run."""
        with self._changed:
            records, warnings = (tuple(self._of(kind, run)) for kind in (RECORDS, WARNINGS))
            jobs, pods, services = (self._of(kind, run) for kind in (JOBS, PODS, SERVICES))
            departed = list(self._departed.get(run, {}).values())
        if not records:
            return Seen(None, tuple(jobs), tuple(pods), tuple(services), warnings=warnings)
        own_jobs, own_pods, own_departed = (
            tuple(each for each in found if is_of(each, records[0])) for found in (jobs, pods, departed)
        )
        return Seen(records[0], own_jobs, own_pods, tuple(services), own_departed, warnings)

    def record(self, run: str) -> RunRecord | None:
        """The record of a run, read; None also when nobody here can read it."""
        with suppress(UnreadableRecordError):
            return self.read(run)
        return None

    def read(self, run: str) -> RunRecord | None:
        """The record of a run; None when there is none.

        Raises:
            UnreadableRecordError: There is one that nobody here can read.
        """
        with self._changed:
            found = self._of(RECORDS, run)
            version, known = self._records.get(run, (0, None))
        if not found:
            return None
        if known is None or version != version_of(found[0]):
            try:
                known = record_of(found[0])
            except UnreadableRecordError as error:
                logger.warning("%s", error)
                known = error.why
            with self._changed:
                if self._of(RECORDS, run):
                    self._records[run] = (version_of(found[0]), known)
        if isinstance(known, str):
            raise UnreadableRecordError(run, known)
        return known

    def put(self, kind: str, object: Object) -> None:
        """Take note of an object that this process has just written or read, before the watch tells."""
        with self._changed:
            self._put(kind, object)

    def drop(self, kind: str, name: str) -> None:
        """Take note of the deletion of an object."""
        with self._changed:
            self._drop(kind, name)

    def turn(self) -> int:
        """Grows with every change."""
        with self._changed:
            return self._turn

    def changed_since(self, turn: int) -> set[str]:
        """The runs of which something has changed since."""
        with self._changed:
            return {run for run, changed in self._turns.items() if changed > turn}

    def wait(self, turn: int, seconds: float) -> None:
        """Until there was a change since that turn, or for that long."""
        with self._changed:
            self._changed.wait_for(lambda: self._turn > turn, seconds)

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Until something holds, or for that long."""
        until = time.monotonic() + seconds
        while not holds() and time.monotonic() < until:
            self.wait(self.turn(), 0.5)

    def wake(self) -> None:
        """Have those who wait look again."""
        with self._changed:
            self._turn += 1
            self._changed.notify_all()

    def _is_listed(self) -> bool:
        return len(self._listed) == len(self._kinds)

    def _of(self, kind: str, run: str) -> list[Object]:
        known = self._kinds[kind]
        return [known.objects[name] for name in sorted(known.by_run.get(run, ()))]

    def _follow(self, kind: str) -> None:
        pause, version = FIRST_PAUSE_SECONDS, ""
        while True:
            try:
                version = version or self._list(kind)
                version = self._watch(kind, version)
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:  # the top of a thread that must live: it says why, and tries again
                if isinstance(error, ApiError) and error.status == 410:
                    version = ""
                else:
                    self._complain(kind, error)
                time.sleep(pause)
                pause = min(2 * pause, LAST_PAUSE_SECONDS)

    def _complain(self, kind: str, error: Exception) -> None:
        logger.debug("The watch of %s broke: %s", kind, error)
        self._failures.note(kind, error)
        if kind in self._listed:
            return  # the first look has gone well
        with self._changed:
            known = isinstance(error, ApiError | ClusterUnavailableError)
            self._first_failure = error if known else ClusterUnavailableError(f"{type(error).__name__}: {error}")
            self._changed.notify_all()

    def _list(self, kind: str) -> str:
        answer = self._api.list(kind, _selection(kind))
        self._failures.forget(kind)
        with self._changed:
            known = self._kinds[kind]
            items = {name_of(item): item for item in answer.get("items", ())}
            for name in set(known.objects) - set(items):
                self._drop(kind, name, version_of(answer))
            for item in items.values():
                self._put(kind, item)
            self._listed.add(kind)
            self._changed.notify_all()
        return str(answer["metadata"]["resourceVersion"])

    def _watch(self, kind: str, version: str) -> str:
        """Until the stream ends; the version to go on from."""
        began, opened = version, time.monotonic()
        seconds = UNMARKED_SECONDS if kind == WARNINGS else WATCH_SECONDS
        query: dict[str, str | int] = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": seconds}
        try:
            asked = {**query, **_selection(kind), "resourceVersion": version}
            with self._api.stream(kind, query=asked, idle_seconds=SILENT_SECONDS) as response:
                self._failures.forget(kind)
                for line in _lines(response):
                    version = self._take(kind, json.loads(line)) or version
            if version == began and time.monotonic() - opened < SHORT_SECONDS:
                raise ClusterUnavailableError(f"the API server {self._api.host} ends the watch of {kind} at once")
        except (ClusterUnavailableError, ValueError) as error:
            if version == began:  # it told nothing: the server may be away, and the pause has to grow
                raise
            logger.debug("The watch of %s broke: %s", kind, error)
        time.sleep(FIRST_PAUSE_SECONDS)
        return version

    def _take(self, kind: str, change: Mapping[str, Any]) -> str:
        object = change["object"]
        if change["type"] == "ERROR":
            raise refusal(object.get("code", 0), object)
        if change["type"] != "BOOKMARK":
            with self._changed:
                if change["type"] == "DELETED":
                    self._put(kind, object)  # how it looked at its end is news, too
                    self._drop(kind, name_of(object), version_of(object))
                else:
                    self._put(kind, object)
        return str(object["metadata"]["resourceVersion"])

    def _put(self, kind: str, object: Object) -> None:
        known, name = self._kinds[kind], name_of(object)
        run = _run_of_warning(object) if kind == WARNINGS else run_of(object)
        if kind == WARNINGS and not run:
            return
        old = known.objects.get(name)
        if max(version_of(old) if old else 0, known.gone.get(name, 0)) >= version_of(object):
            return
        known.gone.pop(name, None)
        known.objects[name] = _lean(kind, object)
        known.by_run[run].add(name)
        self._note(run)

    def _drop(self, kind: str, name: str, version: int = 0) -> None:
        known = self._kinds[kind]
        object = known.objects.get(name)
        if object is None or 0 < version < version_of(object):  # made again since
            return
        del known.objects[name]
        known.gone[name] = max(version, version_of(object))
        if len(known.gone) > 4096:
            known.gone.pop(next(iter(known.gone)))
        run = _run_of_warning(object) if kind == WARNINGS else run_of(object)
        known.by_run[run].discard(name)
        if kind == PODS and self._kinds[RECORDS].by_run.get(run):
            departed = {**self._departed.get(run, {}), name: object}
            since = max(map(attempt_of, departed.values())) - 1
            self._departed[run] = {each: pod for each, pod in departed.items() if attempt_of(pod) >= since}
        if kind == RECORDS:
            self._departed.pop(run, None)
            self._records.pop(run, None)
        if not known.by_run[run]:
            del known.by_run[run]
        self._note(run)

    def _note(self, run: str) -> None:
        self._turn += 1
        self._turns.pop(run, None)  # so that the first one is that which has not changed for the longest time
        self._turns[run] = self._turn
        if len(self._turns) > MOST_TURNS:
            self._turns.pop(next(iter(self._turns)))
        self._changed.notify_all()


def _selection(kind: str) -> dict[str, str]:
    return {"fieldSelector": "type=Warning"} if kind == WARNINGS else {"labelSelector": MANAGED}


def _run_of_warning(object: Object) -> str:
    """The run that a warning is about: of a Job or a pod, whose names begin with the run's."""
    about = object["involvedObject"]
    name = about.get("name", "")
    if not name.startswith(_NAME_OF_OURS):
        return ""
    return str(name.rsplit("-", 1)[0] if about.get("kind") == "Job" else name.rsplit("-", 3)[0])


def _lean(kind: str, object: Object) -> Object:
    """Without what nobody asks for: of a thousand pods it would be megabytes."""
    metadata = {name: value for name, value in object["metadata"].items() if name not in ("managedFields",)}
    if kind == PODS:
        return {
            "metadata": metadata,
            "spec": {"nodeName": object["spec"].get("nodeName", "")},
            "status": object["status"],
        }
    if kind == JOBS:
        spec = {name: object["spec"].get(name) for name in ("suspend", "activeDeadlineSeconds", "completions")}
        return {"metadata": metadata, "spec": spec, "status": object.get("status", {})}
    return {**object, "metadata": metadata}


def _lines(response: urllib3.HTTPResponse) -> Iterable[bytes]:
    rest = b""
    for piece in response.stream(CHUNK_BYTES):
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line for line in lines if line)
