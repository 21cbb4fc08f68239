"""The cluster that is this machine."""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from blocks.cluster import agent_lock, allocation, cgroups
from blocks.cluster.agent_process import start_agent
from blocks.cluster.base import Cluster, Cursor, OutputRead, Secrets, Selector, Trace
from blocks.cluster.capacity import Room, capacity, check_fits
from blocks.cluster.events import is_over, last_event
from blocks.cluster.layout import RunLayout, read_json, write_json
from blocks.cluster.output import Output, lines_of
from blocks.cluster.processes import count_processes, end_processes, find_processes, marked_runs
from blocks.cluster.run_directory import (
    Summary,
    create_run,
    discard,
    half_done,
    last_change,
    read_summary,
    recorded_runs,
    remove_run,
    stored_runs,
)
from blocks.cluster.stopping import claim_finished, stop_run
from blocks.cluster.watch import watch_events
from blocks.domain.errors import ClusterUnavailableError, NotFoundError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import LogLine, RunEvent, RunHandle, RunPhase, RunPlan, RunState, StopReport

CLUSTER = "local"
"""The name of this cluster in handles."""

_LINES_BYTES = 1 << 20
_LINES_SECONDS = 0.1
_HALF_DONE_SECONDS = 3600.0


class LocalCluster(Cluster):
    """Runs workers as processes of this machine, each run in the care of an agent process of its own.

    All state is below `home`, so every `LocalCluster` of the same home is the same cluster, whichever process it is in.
    Workers outlive the process that launched them.

    Args:
        home: Where state lives.
        vcpus: What all runs together may use; None for what the machine has.
        memory_mib: The same of memory.
        cache_bytes: Bound of the cache of staged objects.
        region: What entry points find in EM_REGION.
        app_key: What entry points find in EM_APPKEY.
    """

    def __init__(
        self,
        home: Path,
        *,
        vcpus: float | None = None,
        memory_mib: int | None = None,
        cache_bytes: int = 50 << 30,
        region: str = "",
        app_key: str = "",
    ) -> None:
        self._home = home.absolute()
        self._vcpus, self._memory_mib = vcpus, memory_mib
        self._agent_settings = {
            "home": str(self._home),
            "cache_directory": str(self._home / "cache" / "objects"),
            "environments_directory": str(self._home / "cache" / "environments"),
            "cache_bytes": cache_bytes,
            "region": region,
            "app_key": app_key,
            "vcpus": vcpus,
            "memory_mib": memory_mib,
        }

    @property
    def place(self) -> str:
        """As promised."""
        return CLUSTER

    @property
    def capacity(self) -> Room:
        """What runs may use together."""
        return capacity(self._vcpus, self._memory_mib)

    def reaches(self, path: StoragePath) -> bool:
        """As promised: they are on this machine."""
        return True

    def launch(self, plan: RunPlan, secrets: Secrets | None = None) -> RunHandle:
        """As promised. The agent, and so the workers, outlive the calling process."""
        try:
            self._launch(RunLayout(self._home, plan.run_id), plan, secrets or {})
        except OSError as exc:  # no room for a file, a process, a descriptor: others may give some back
            raise ClusterUnavailableError(f"this machine cannot start the run {plan.run_id}: {exc}") from exc
        return RunHandle(cluster=CLUSTER, run_id=plan.run_id)

    def watch(
        self, selector: Selector, since: Cursor | None = None, *, idle_seconds: float | None = None
    ) -> Iterator[RunEvent | None]:
        """As promised, by one watch on one directory, however many runs there are."""
        return watch_events(
            self._home / "events",
            selector.run_id,
            lambda run_id: _matches(read_summary(RunLayout(self._home, run_id)), selector),
            since or {},
            idle_seconds,
        )

    def logs(self, handle: RunHandle, rank: int, *, follow: bool, since: int = 0) -> Iterator[LogLine]:
        """As promised. A look ten times a second costs less than a watch on a file that changes all the time."""
        output = self._output(handle, rank)
        while True:
            over = not follow or output.is_over()
            piece = output.read(since, _LINES_BYTES)
            yield from lines_of(piece, since, rank)
            since = piece.cursor
            if not piece.data:
                if over:
                    return
                time.sleep(_LINES_SECONDS)

    def read_output(self, handle: RunHandle, rank: int, *, since: int, at_most: int) -> OutputRead:
        """As promised. Cursors are byte offsets in the worker's output over all attempts."""
        piece = self._output(handle, rank).read(since, at_most)
        return OutputRead(piece.data, piece.cursor)

    def position_of(self, cursor: int) -> tuple[int, int]:
        """As promised: one stream."""
        return 1, cursor

    def stop(self, handle: RunHandle, grace_seconds: float, secrets: Secrets | None = None) -> StopReport:
        """As promised. The agent uploads what the workers left before it is gone; so this may outlast the grace."""
        return stop_run(RunLayout(self._home, handle.run_id), grace_seconds, secrets or {})

    def remove(self, handle: RunHandle) -> None:
        """As promised; also what a process that died in the middle of a removal left."""
        layout = RunLayout(self._home, handle.run_id)
        try:
            lock = claim_finished(layout)
        except FileNotFoundError:
            layout.events.unlink(missing_ok=True)
            if layout.directory.exists() and not layout.lock.exists():  # what an entry point left that removed the rest
                remove_run(layout)
            return
        try:
            if find_processes(layout.directory):  # whoever wrote the last event had seen that there are none
                end_processes(layout.directory, 0)
            allocation.release(layout.directory)
            cgroups.remove_groups(layout.directory)
            remove_run(layout)
        finally:
            os.close(lock)

    def removal_of(self, run_id: str) -> str:
        """As promised."""
        return f"end its processes and remove its directory, {RunLayout(self._home, run_id).directory}"

    def find(self, selector: Selector) -> list[RunState]:
        """As promised, oldest first. Processes are counted by one look at the machine."""
        one = [RunLayout(self._home, selector.run_id)] if selector.run_id else None
        found = [(layout, summary) for layout in one or stored_runs(self._home) if (summary := read_summary(layout))]
        chosen = [(layout, summary) for layout, summary in found if _matches(summary, selector)]
        states = {layout: _state(layout, summary) for layout, summary in chosen}
        active = {layout.directory for layout, state in states.items() if state.phase is not RunPhase.FINISHED}
        counts = count_processes(active) if active else {}
        ordered = sorted(chosen, key=lambda pair: (pair[1]["created_us"], pair[1]["run_id"]))
        return [
            states[layout].model_copy(update={"processes": counts.get(layout.directory, 0)}) for layout, _ in ordered
        ]

    def traces(self) -> list[Trace]:
        """As promised: directories, events, and processes that carry a run's marker."""
        marked = marked_runs(self._home / "runs")
        found = {run.run_id for run in stored_runs(self._home)} | recorded_runs(self._home)
        layouts = [RunLayout(self._home, run_id) for run_id in sorted(found | {run.name for run in marked})]
        phases = {layout: _phase(layout) for layout in layouts}
        alive = {layout.directory for layout in layouts if phases[layout] not in (None, RunPhase.FINISHED)}
        counts = count_processes(alive | marked)
        return [
            Trace(
                layout.run_id,
                phases[layout],
                counts.get(layout.directory, 0),
                last_change(layout),
                (read_summary(layout) or {}).get("labels", {}),
            )
            for layout in layouts
        ]

    def tidy(self) -> list[str]:
        """As promised: control groups without a run, and directories that nobody has touched for an hour."""
        removed = [f"control group {name}" for name in cgroups.remove_stale(self._home)]
        for directory in half_done(self._home):
            with suppress(FileNotFoundError):  # whoever works on it has done so meanwhile
                if time.time() - directory.stat().st_mtime > _HALF_DONE_SECONDS:
                    discard(directory)
                    removed.append(f"directory {directory.name}")
        return removed

    def _launch(self, layout: RunLayout, plan: RunPlan, secrets: Secrets) -> None:
        lock = self._claim(layout, plan)
        if lock is not None:
            try:
                self._start(layout, lock, plan, secrets)
            finally:
                os.close(lock)  # the agent has its own copy

    def _claim(self, layout: RunLayout, plan: RunPlan) -> int | None:
        """The lock of an agent to be started, the run's directory made if need be; None when an agent lives."""
        while True:
            if not layout.lock.exists() and layout.events.exists():  # an entry point removed its run's directory
                if find_processes(layout.directory):
                    return None  # its agent sees to the end all the same
                discard(layout.directory)
            if not layout.directory.exists():
                needs = Room(plan.resources.vcpus, plan.resources.memory_mib, plan.resources.gpus)
                check_fits(plan.run_id, needs.times(plan.workers), self.capacity)
                lock = create_run(layout, plan)
                if lock is not None:
                    return lock
            with suppress(FileNotFoundError):  # removed meanwhile
                return agent_lock.acquire(layout.lock)

    def _start(self, layout: RunLayout, lock: int, plan: RunPlan, secrets: Secrets) -> None:
        """With the agent's lock in hand: start it, unless the run is over."""
        if is_over(layout.events):
            return
        if layout.settings.exists():
            end_processes(layout.directory, 0)  # what an agent that died without a word left behind
        write_json(layout.settings, self._agent_settings | {"secrets": sorted(secrets)}, durable=False)
        allocation.enter(layout.directory)
        start_agent(layout, lock, secrets, _modules(plan))

    def _output(self, handle: RunHandle, rank: int) -> Output:
        layout = RunLayout(self._home, handle.run_id)
        summary = read_summary(layout)
        if summary is None:
            raise NotFoundError("run", handle.run_id)
        return Output(layout.output(rank), summary["limit_mib"], lambda: _is_over_or_gone(layout))


def _matches(summary: Summary | None, selector: Selector) -> bool:
    if summary is None or selector.run_id not in ("", summary["run_id"]):
        return False
    labels: Mapping[str, str] = summary["labels"]
    return selector.labels.items() <= labels.items()


def _modules(plan: RunPlan) -> list[str]:
    """What only the agents of some plans import: the clients of object stores."""
    places = [each.path for each in plan.inputs] + [each.path for each in plan.outputs]
    return ["blocks.storage.object_store"] if any(StoragePath.parse(p).is_object_store for p in places) else []


def _phase(layout: RunLayout) -> RunPhase | None:
    summary = read_summary(layout)
    return _state(layout, summary).phase if summary else None


def _is_over_or_gone(layout: RunLayout) -> bool:
    return is_over(layout.events) or not layout.directory.exists()


def _state(layout: RunLayout, summary: Summary) -> RunState:
    """What is known of one run, but for its processes."""
    agent_lives = agent_lock.is_held(layout.lock)  # asked first: a dead one writes no more
    state = read_json(layout.state) or {}
    last = last_event(layout.events) or {}
    phase, detail = RunPhase(state.get("phase", RunPhase.QUEUED)), state.get("detail", "")
    if last.get("kind") == "finished":
        phase, detail = RunPhase.FINISHED, last.get("message", "")
    elif not agent_lives:
        phase, detail = RunPhase.LOST, f"what ran it died; {layout.agent_log} may say why"
    return RunState(
        handle=RunHandle(cluster=CLUSTER, run_id=layout.run_id),
        labels=summary["labels"],
        phase=phase,
        attempt=state.get("attempt", 0),
        detail=detail,
        is_stopping=layout.stop.exists(),
    )
