"""An API server in memory: it keeps objects of one namespace, with their versions, and tells what changes."""

import itertools
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from blocks.cluster.kubernetes.api import ApiError
from blocks.cluster.kubernetes.names import ATTEMPT, LIFE, RUN, job_name, name_of, run_annotations, run_name
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.kubernetes.view import JOBS, RECORDS, SERVICES, View
from blocks.domain.plan import RunPlan

MOST_BYTES = 1 << 20
CREATED = "2030-01-01T00:00:00Z"


class MemoryApi:
    """Acts as an `Api`.

    Attributes:
        calls: What was asked for: verb, kind and name, or the selector.
        failure: Raised instead of every answer, while it is set.
        stuck: Names of pods that somebody's finalizer keeps.
        paths: What is found at paths of the API.
    """

    host, namespace = "memory", "here"

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.failure: Exception | None = None
        self.stuck: set[str] = set()
        self.paths: dict[str, dict[str, Any]] = {}
        self._objects: dict[tuple[str, str], dict[str, Any]] = {}
        self._watches: list[tuple[str, _Watch]] = []
        self._versions = itertools.count(1)
        self._lock = threading.Lock()

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self._called("get", kind, name)
        return self._objects.get((kind, name))

    def find(self, path: str) -> dict[str, Any] | None:
        self._called("find", path, "")
        return self.paths.get(path)

    def list(self, kind: str, query: Mapping[str, Any]) -> dict[str, Any]:
        self._called("list", kind, "")
        items = [found for (each, _), found in self._objects.items() if each == kind]
        return {"items": items, "metadata": {"resourceVersion": str(next(self._versions))}}

    def create(self, manifest: Mapping[str, Any]) -> dict[str, Any] | None:
        kind = f"{manifest['kind'].lower()}s"
        self._called("create", kind, name_of(manifest))
        return None if (kind, name_of(manifest)) in self._objects else self._keep(kind, manifest)

    def apply(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        self._called("apply", f"{manifest['kind'].lower()}s", name_of(manifest))
        return self._keep(f"{manifest['kind'].lower()}s", manifest)

    def replace(self, object: Mapping[str, Any]) -> dict[str, Any] | None:
        self._called("replace", RECORDS, name_of(object))
        there = self._objects.get((RECORDS, name_of(object)))
        if there is None or there["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"]:
            return None
        return self._keep(RECORDS, object)

    def merge(self, kind: str, name: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        self._called("merge", kind, name)
        return self._objects.get((kind, name))

    def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> bool:
        self._called("delete", kind, name)
        gone = self._objects.get((kind, name))
        if gone is None:
            return False
        if name not in self.stuck:
            del self._objects[kind, name]
            self._tell(kind, "DELETED", self._versioned(gone))
        for each, owned in list(self._objects):
            if owned.startswith(f"{name}-") or (kind, each, owned) == (RECORDS, SERVICES, name):
                self.delete(each, owned)
        return True

    def delete_all(self, kind: str, selector: str, *, grace_seconds: int | None = None) -> None:
        self._called("delete_all", kind, selector)
        for each, name in list(self._objects):
            if each == kind and name.startswith(f"{selector.removeprefix(f'{RUN}=')}-"):
                self.delete(kind, name)

    @contextmanager
    def stream(self, kind: str, *_: str, query: Mapping[str, Any], idle_seconds: float) -> Iterator[Any]:
        self._called("watch", kind, "")
        watch = _Watch()
        self._watches.append((kind, watch))
        yield watch

    def add(self, kind: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """An object that somebody else made."""
        return self._keep(kind, manifest)

    def break_watches(self) -> None:
        """As if it went away."""
        for _, watch in self._watches:
            watch.lines.put(None)
        self._watches.clear()

    def _keep(self, kind: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        if sum(len(text.encode()) for text in manifest.get("data", {}).values()) > MOST_BYTES:
            raise ApiError(422, "Invalid", "data: Too long: may not be more than 1048576 bytes")
        with self._lock:
            kept = self._versioned(manifest)
            self._objects[kind, name_of(manifest)] = kept
            self._tell(kind, "MODIFIED", kept)
            return kept

    def _versioned(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        version = str(next(self._versions))
        metadata = {"uid": version, "creationTimestamp": CREATED, **manifest["metadata"], "resourceVersion": version}
        return {"status": {}, **manifest, "metadata": metadata}

    def _tell(self, kind: str, change: str, object: Mapping[str, Any]) -> None:
        for each, watch in self._watches:
            if each == kind:
                watch.lines.put(json.dumps({"type": change, "object": object}).encode() + b"\n")

    def _called(self, verb: str, kind: str, name: str) -> None:
        if self.failure:
            raise self.failure
        self.calls.append((verb, kind, name))


class _Watch:
    def __init__(self) -> None:
        self.lines: queue.Queue[bytes | None] = queue.Queue()

    def stream(self, _: int) -> Iterator[bytes]:
        return iter(self.lines.get, None)


def launched(api: MemoryApi, plan: RunPlan, view: View | None = None, **changes: Any) -> tuple[View, str]:
    """What a process knows of a run whose record and first Job are there, and the run's name."""
    run, view = run_name(plan.run_id), view or View(api)  # type: ignore[arg-type]
    record = RunRecord.of(plan, 1, 2.0).change(seen=1, **changes)
    metadata = {"name": run, "labels": {RUN: run}, "annotations": run_annotations(plan.run_id, plan.labels)}
    owner = api.add(RECORDS, {"metadata": metadata, "kind": "ConfigMap", "data": {"record": record.to_json()}})
    view.put(RECORDS, owner)
    view.put(JOBS, api.add(JOBS, job_of(plan, owner)))
    return view, run


def job_of(plan: RunPlan, owner: Mapping[str, Any], attempt: int = 1) -> dict[str, Any]:
    """The Job of an attempt."""
    metadata = {
        "name": job_name(plan.run_id, attempt),
        "labels": {RUN: run_name(plan.run_id), ATTEMPT: str(attempt)},
        "annotations": {LIFE: owner["metadata"]["uid"], **run_annotations(plan.run_id, plan.labels)},
    }
    return {"metadata": metadata, "spec": {}, "status": {}}


def pod_of(plan: RunPlan, owner: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The pod of the first worker."""
    job = job_of(plan, owner)["metadata"]
    pod = {"metadata": {**job, "name": f"{job['name']}-0-abcde"}, "spec": {"nodeName": "node1"}}
    return {**pod, "status": {"phase": "Pending"}, **changes}
