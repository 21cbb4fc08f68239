"""`python -m blocks.launcher.pod stage|sync`: what runs beside the entry point in a pod of Kubernetes.

`stage` is an init container: it brings the inputs, and says in the pod's termination message how that went. `sync` is a
sidecar that lives as long as the entry point's container: it uploads what that makes, and prints what it prints, with
what else there is to tell, as a stream that whoever follows the run reads (`blocks.cluster.kubernetes.frames`).
"""

import gzip
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any

from blocks.cluster.layout import write_json
from blocks.cluster.outcome import Outcome
from blocks.cluster.pod_settings import (
    CONFIDENTIAL_VARIABLE,
    PLAN,
    PLANS,
    RANK,
    ROOT,
    STAGED,
    TERMINATED,
    PodSettings,
)
from blocks.domain.plan import ExitCause, ExitRecord, OutputKind, RunPlan
from blocks.files import replace_file
from blocks.launcher.agent import Confidential, forbid_looking, read_secrets
from blocks.launcher.causes import staging_outcome, uploading_outcome
from blocks.launcher.delivery import Delivery
from blocks.launcher.journal import Journal
from blocks.launcher.pod_barrier import Barrier
from blocks.launcher.pod_fence import Fence, FencedStores, SupersededError
from blocks.launcher.pod_layout import PodLayout
from blocks.launcher.pod_monitor import PodMonitor, open_files
from blocks.launcher.pod_relay import relay_usage, usage_sender
from blocks.launcher.pod_stage import check_outputs, open_node_cache, place_programs, place_worker
from blocks.launcher.pod_start import LOOK_SECONDS, look_pause
from blocks.launcher.pod_stream import Remarks, Stream
from blocks.launcher.pod_volume import DELIVERING, LEAVING, hold, is_held, read_object
from blocks.launcher.preparation import stage_inputs
from blocks.launcher.stopping import StopSwitch, in_background
from blocks.launcher.stores import Stores
from blocks.launcher.usage import DataStorage
from blocks.storage.cache import Cache

TERMINATION_LOG = Path("/dev/termination-log")
LEAVING_SECONDS = 5.0
MESSAGE_BYTES = 2900
"""As of the supervisor's."""

USAGE = "usage: python -m blocks.launcher.pod stage|sync < CONFIDENTIAL"


class Pod:
    """One worker's pod, seen from the containers that are ours.

    Args:
        environment: Of the container.
        confidential: What opens the plan's stores.
    """

    def __init__(self, environment: Mapping[str, str], confidential: Confidential) -> None:
        text = gzip.decompress(b"".join(file.read_bytes() for file in sorted(PLANS.glob(f"{PLAN}*"))))
        self.plan = RunPlan.model_validate_json(text)
        self.rank = int(environment[RANK])
        self.settings = PodSettings.read(environment)
        self.layout = PodLayout(ROOT, self.plan.run_id)
        self.layout.directory.mkdir(parents=True, exist_ok=True)
        replace_file(self.layout.plan, text.decode(), durable=False)
        os.environ.update(confidential.environment)
        self.stores = Stores(confidential.connections)
        self.fence = Fence(self.plan, self.stores, self.settings.token, self.settings.attempt)

    @property
    def _name(self) -> str:
        """By which the pods of one attempt know each other."""
        return f"{self.settings.token}/{self.settings.attempt}"

    @cached_property
    def journal(self) -> Journal:
        """Of the pod: first of the one container, then of the other."""
        return Journal(self.layout)

    def stage(self) -> Outcome:
        """Bring the inputs, and all that the entry point needs beside them."""
        try:
            with Barrier(self.settings.addresses, self.rank, self._name) as barrier:
                if refused := self._prepare():
                    return refused
                barrier.wait()
        except OSError as error:  # all of them start again
            return Outcome(ExitCause.LOST, f"Its workers could not wait for each other: {error}.")
        STAGED.touch()
        return Outcome(ExitCause.OK)

    def _prepare(self) -> Outcome | None:
        """Do what is to be done before the entry point; how the run ends when that fails."""
        try:
            check_outputs(self.plan, self.stores)
            if self.rank == 0:
                self.fence.mark(self.layout.directory)
        except Exception as error:
            return uploading_outcome(error, self.layout.home)
        try:
            self._stage()
        except Exception as error:  # the top of the process: whatever it was must be on record
            traceback.print_exc()
            return staging_outcome(error, self.layout.home)
        return None

    def _stage(self) -> None:
        place_programs()
        limit_bytes = self.settings.cache_bytes
        cache = open_node_cache(limit_bytes) if limit_bytes else self._own_cache()
        stage_inputs(self.layout, self.plan, cache, self.stores, self.journal.emit)
        place_worker(self.layout, self.plan, self.rank, self.settings, self.stores, cache)

    def _own_cache(self) -> Cache:
        return Cache(self.layout.home / "cache", self.plan.storage_mib << 20)

    def sync(self, switch: StopSwitch) -> Outcome:
        """Upload, and tell, until the worker has ended and all is at its place."""
        with Stream(self.layout, self.rank, self.plan.logs.limit_mib).printed():
            return self._sync(switch)

    def _sync(self, switch: StopSwitch) -> Outcome:
        with Barrier(self.settings.addresses, self.rank, f"{self._name}/end") as end:
            return self._deliver(end, switch)

    def _deliver(self, end: Barrier, switch: StopSwitch) -> Outcome:
        worker = self.layout.worker(self.rank)
        self.journal.change(attempt=self.settings.attempt)
        delivery = Delivery(
            self.layout, self.plan, FencedStores(self.stores, self.fence, self._give_up), self.journal, switch,
            ranks=[self.rank], open_files=lambda _: open_files(worker), growing_logs=self.layout.events.parent,
        )  # fmt: skip
        ended = Event()
        storage = DataStorage(self.layout, self.plan)
        in_background(switch, "data storage", lambda: self._hold_to_storage(storage, ended))
        if self.rank == 0 and self.plan.workers > 1:
            in_background(switch, "usage", lambda: relay_usage(self.plan.workers, self._name, self.journal.emit))
        tell = usage_sender(self.settings.addresses[0], self._name) if self.rank else self.journal.emit
        monitor = PodMonitor(self.plan, tell, self.rank, self.settings.attempt, storage.written_bytes)
        in_background(switch, "monitoring", lambda: monitor.follow(ended, worker))
        with delivery.while_running():
            self._wait_for_end(switch)
        ended.set()
        with suppress(OSError):  # where the entry point has left something in its place, there is less time
            hold(str(worker / DELIVERING))  # only now: it could have removed it
        outcome = delivery.deliver(self._outcome(), lambda: self._wait_for_others(end, switch))
        with suppress(OSError):
            write_json(worker / "delivered.json", asdict(outcome), durable=False)
        return outcome

    def _wait_for_others(self, end: Barrier, switch: StopSwitch) -> Outcome:
        """Until all workers have ended well; this pod has to go before when one has not, or it is evicted.

        Those who have all ended well come within moments, also when they have to go.
        """
        passed = self.layout.events.with_name(f"ended-{self.settings.attempt}")  # outlives this container
        if self.plan.workers == 1 or passed.exists():
            return Outcome(ExitCause.OK)
        waiting = in_background(switch, "the end of the others", end.wait)
        leaving = self.layout.worker(self.rank) / LEAVING
        until = float("inf")
        while not waiting.done():
            if leaving.exists():
                until = min(until, time.monotonic() + LEAVING_SECONDS)
            if switch.asked() or time.monotonic() > until:
                return Outcome(ExitCause.STOPPED, "It had to go before all workers had ended.")
            switch.wait()
        if error := waiting.exception():
            return Outcome(ExitCause.LOST, f"Whether the other workers ended well is not known: {error}.")
        passed.touch()
        return Outcome(ExitCause.OK)

    def _hold_to_storage(self, storage: DataStorage, ended: Event) -> None:
        if reason := storage.watch(ended):
            self._end_worker(ExitCause.DISK_FULL, reason)

    def _give_up(self, error: SupersededError) -> None:
        self._end_worker(ExitCause.LOST, str(error))

    def _end_worker(self, cause: ExitCause, message: str) -> None:
        request = {"cause": cause, "message": message, "grace_seconds": self.plan.stop_grace_seconds}
        with suppress(OSError):  # the entry point has removed the place
            write_json(self.layout.worker(self.rank) / f"stop-{self.settings.attempt}.json", request, durable=False)

    def _wait_for_end(self, switch: StopSwitch) -> None:
        """Until the record of the worker's end is there, or none is to come."""
        began = time.monotonic()
        while not (self._record() or switch.asked() or self.is_supervisor_gone()):
            switch.wait(look_pause(time.monotonic() - began))

    def _record(self) -> ExitRecord | None:
        """What the worker's supervisor has left; what an entry point has put there is none."""
        with suppress(OSError, ValueError):
            return ExitRecord.model_validate(read_object(self._record_file))
        return None

    @property
    def _record_file(self) -> Path:
        return self.layout.exit_record(self.rank, self.settings.attempt)

    def is_supervisor_gone(self) -> bool:
        """Whether it has lived, and does not any more."""
        return is_held(str(self.layout.worker(self.rank) / "supervisor.lock")) is False

    def _outcome(self) -> Outcome:
        """How the worker ended; one that left no record was killed with its supervisor."""
        if record := self._record():
            return Outcome(record.cause, record.message)
        lost = Outcome(ExitCause.LOST, "It was killed with its container.")
        now = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
        facts = {"attempt": self.settings.attempt, "rank": self.rank, "began": None, "ended": now}
        with suppress(OSError):
            write_json(self._record_file, {**facts, **asdict(lost)})
        return lost

    def staged_bytes(self) -> dict[str, int]:
        """How much was staged, and how much of it the node had already."""
        told = [event for event in self._told() if event.get("finished")]
        return {name: told[-1][name] for name in ("done_bytes", "total_bytes", "cached_bytes")} if told else {}

    def arrivals(self) -> list[dict[str, object]]:
        """What has been uploaded, as the journal tells it."""
        names = ("output", "path", "files", "bytes")
        return [{name: event[name] for name in names} for event in self._told() if event["kind"] == "uploaded"]

    def _told(self) -> list[dict[str, Any]]:
        """What the journal has; a pod that was refused at once has none."""
        return [*map(json.loads, self.layout.events.read_bytes().splitlines())] if self.layout.events.exists() else []


def main(arguments: list[str]) -> int:
    """Run one of the two; 0 when it went well."""
    if arguments not in (["stage"], ["sync"]):
        print(USAGE, file=sys.stderr)
        return 2
    forbid_looking()
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(TERMINATED))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    pod = Pod(os.environ, _confidential())
    if arguments == ["stage"]:
        outcome = pod.stage()
        _leave(outcome, {"bytes": pod.staged_bytes()})
        return 0 if outcome.cause == ExitCause.OK else 1
    switch = StopSwitch(pod.layout.stop)
    with redirect_stderr(Remarks()):
        outcome = pod.sync(switch)
    _leave(outcome, {"uploads": pod.arrivals()})
    while not switch.asked() and not pod.is_supervisor_gone():  # one that ended before it would be started again
        switch.wait(LOOK_SECONDS)
    os._exit(0)  # threads that hang in a store must not keep the pod


def _confidential() -> Confidential:
    """What Kubernetes handed over: to `stage` in its environment, to `sync` in what is emptied once it was read."""
    if text := os.environ.pop(CONFIDENTIAL_VARIABLE, ""):
        return Confidential(**json.loads(text))
    confidential = read_secrets(needed=True)
    os.ftruncate(0, 0)  # /proc/self/fd/0 would show it again, and Python leaves the descriptor open
    return confidential


def _leave(outcome: Outcome, facts: Mapping[str, Any]) -> None:
    """What Kubernetes keeps of this container."""
    TERMINATION_LOG.write_text(last_words(outcome, facts))


def last_words(outcome: Outcome, facts: Mapping[str, Any]) -> str:
    """What is to be known of it, as JSON: of what is too long the facts go first, then the message's end.

    That the log was uploaded stays, as the run is kept without.
    """
    message, document = outcome.message, {"cause": outcome.cause, **facts}
    if len(json.dumps({**document, "message": message})) > MESSAGE_BYTES:
        logs = [upload for upload in facts.get("uploads", ()) if upload["output"] == OutputKind.LOG]
        document = {"cause": outcome.cause, "uploads": logs}
        while len(json.dumps({**document, "message": message})) > MESSAGE_BYTES and message:
            message = message[: -max(len(message) // 12, 1)]
    return json.dumps({**document, "message": message})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
