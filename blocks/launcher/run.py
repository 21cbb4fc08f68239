"""One run from its placing to its end: prepared, started, restarted when that helps, its outputs uploaded."""

import ctypes
import datetime
import os
import signal
import time
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from threading import Event

from blocks.cluster.allocation import Placement, release
from blocks.cluster.cgroups import WorkerCgroup, create_worker_cgroup
from blocks.cluster.gang import Restart, decide
from blocks.cluster.layout import RunLayout, write_json
from blocks.cluster.outcome import STOPPED, Outcome
from blocks.cluster.processes import end_processes, find_processes
from blocks.domain.environment import Rendezvous
from blocks.domain.plan import ExitCause, ExitRecord, RunPlan, StopReport
from blocks.launcher.attempt import Attempt
from blocks.launcher.causes import staging_outcome
from blocks.launcher.delivery import Delivery
from blocks.launcher.directories import TMP, make_worker_directories, remove_tree
from blocks.launcher.entry import worker_document, worker_gpus
from blocks.launcher.journal import Journal
from blocks.launcher.monitoring import Monitor
from blocks.launcher.ports import PortLease
from blocks.launcher.preparation import build_environment, open_cache, remove_inputs, stage_inputs
from blocks.launcher.resume import checkpoint_input
from blocks.launcher.settings import AgentSettings
from blocks.launcher.stopping import StopSwitch, in_background
from blocks.launcher.stores import Stores
from blocks.launcher.usage import DataStorage
from blocks.storage.cache import Cache

LOOPBACK = "127.0.0.1"
PR_SET_CHILD_SUBREAPER = 36


class Run:
    """One run and all that its agent holds for it.

    Args:
        placement: None when it was stopped while it waited, or when only its outputs are to be uploaded.
    """

    def __init__(
        self,
        layout: RunLayout,
        journal: Journal,
        switch: StopSwitch,
        secrets: Mapping[str, Mapping[str, str]],
        placement: Placement | None,
    ) -> None:
        self._layout = layout
        self._journal = journal
        self._switch = switch
        self._placement = placement
        self._plan = RunPlan.model_validate_json(layout.plan.read_bytes())
        self._settings = AgentSettings.load(layout)
        self._stores = Stores(secrets)
        self._delivery = Delivery(layout, self._plan, self._stores, journal, switch)
        self._ports = PortLease(self._settings.home)
        self._cgroups: list[WorkerCgroup] = []
        self._records: list[ExitRecord] = []  # of the last attempt
        self._swept = False  # since anything was started
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans of a supervisor become our children

    def execute(self) -> Outcome:
        """See it to its end; its last event is the caller's."""
        outcome = self._journal.state.outcome
        if outcome is None:
            outcome = self._work()
            self._make_room()
            self._journal.change(outcome=outcome)
        self._clear()
        if self._layout.inputs.is_dir():
            remove_inputs(self._layout, self._cache)
        if self._journal.state.attempt == 0:
            return self._delivery.deliver_log(outcome)
        return self._delivery.deliver(outcome)

    @cached_property
    def _cache(self) -> Cache:
        return open_cache(self._settings)

    def _work(self) -> Outcome:
        """All until no worker is to run any more."""
        if self._journal.state.attempt > self._journal.state.concluded:
            outcome = self._conclude(self._inherited())
            if outcome:
                return outcome
        if self._placement is None or self._switch.asked():
            return self._stopped()
        self._swept = False
        preparation = in_background(self._switch, "preparation", self._prepare)
        while not preparation.done():
            if self._switch.asked():
                return self._stopped()
            self._switch.wait()
        error = preparation.exception()
        if isinstance(error, Exception):
            return staging_outcome(error, self._layout.home)
        return self._run_workers(preparation.result(), self._placement)

    def _prepare(self) -> Path:
        self._journal.change(phase="staging", detail="")
        stage_inputs(self._layout, self._plan, self._cache, self._stores, self._journal.emit)
        return build_environment(self._layout, self._plan, self._settings, self._journal.emit)

    def _run_workers(self, python: Path, placement: Placement) -> Outcome:
        while True:
            outcome = self._conclude(self._attempt(python, placement))
            if outcome:
                return outcome

    def _attempt(self, python: Path, placement: Placement) -> list[ExitRecord]:
        """Start all workers and wait until all have ended."""
        number = self._journal.state.attempt + 1
        deadline = self._journal.state.deadline or time.time() + self._plan.time_limit_seconds
        documents = self._documents(number, python, placement, deadline)
        self._journal.change(phase="running", detail="", attempt=number, deadline=deadline)
        attempt = Attempt(self._layout, number, self._exited)
        self._swept = False
        attempt.start(python, documents)
        self._journal.emit("started", attempt=number, deadline=_iso(deadline))
        ended = Event()
        storage = DataStorage(self._layout, self._plan)
        full = in_background(self._switch, "data storage", lambda: storage.watch(ended))
        gpus = worker_gpus(placement, self._plan)
        monitor = Monitor(self._plan, self._journal, number, attempt.supervisors, storage.written_bytes, gpus)
        began = deadline - self._plan.time_limit_seconds
        in_background(self._switch, "monitoring", lambda: monitor.follow(ended, began))
        with self._delivery.while_running():
            self._watch(attempt, full)
        ended.set()
        self._sweep()
        return [attempt.records[rank] for rank in sorted(attempt.records)]

    def _documents(
        self, number: int, python: Path, placement: Placement, deadline: float
    ) -> dict[int, Mapping[str, object]]:
        """What each supervisor is told; all that it names is there."""
        plan, ranks = self._plan, range(self._plan.workers)
        checkpoint = checkpoint_input(self._layout, plan, number)
        self._ports.release()
        ports = self._ports.take(2 * plan.workers)
        rendezvous = Rendezvous(
            addresses=(LOOPBACK,) * plan.workers, ports=ports[: plan.workers], tf_ports=ports[plan.workers :]
        )
        needs = plan.resources
        cgroups = [create_worker_cgroup(self._layout.directory, r, needs.vcpus, needs.memory_mib) for r in ranks]
        self._cgroups = [cgroup for cgroup in cgroups if cgroup]
        return {
            rank: worker_document(
                self._layout,
                plan,
                rank,
                attempt=number,
                python=python,
                directories=make_worker_directories(self._layout, plan, rank, checkpoint),
                rendezvous=rendezvous,
                placement=placement,
                cgroup=cgroups[rank],
                deadline=deadline,
                settings=self._settings,
            )
            for rank in ranks
        }

    def _watch(self, attempt: Attempt, storage: "Future[str]") -> None:
        """Wait until all workers have ended; end them all once there is a reason to."""
        ending = False
        while attempt.running:
            self._switch.wait()
            attempt.look()
            if self._switch.asked():  # also a second time, with another grace
                grace = self._switch.grace_seconds(self._plan.stop_grace_seconds)
                attempt.end(ExitCause.STOPPED, STOPPED, grace)
            elif not ending and (reason := self._reason_to_end(attempt, storage)):
                ending = True
                attempt.end(*reason, self._plan.stop_grace_seconds)

    def _reason_to_end(self, attempt: Attempt, storage: "Future[str]") -> tuple[ExitCause, str] | None:
        failed = next((r for r in attempt.records.values() if r.cause is not ExitCause.OK), None)
        if failed:
            return ExitCause.STOPPED, f"Worker {failed.rank} had ended, so all workers were ended."
        if storage.done() and storage.result():
            return ExitCause.DISK_FULL, storage.result()
        return None

    def _inherited(self) -> list[ExitRecord]:
        """How the attempt ended that an earlier agent started."""
        self._sweep()
        number = self._journal.state.attempt
        told = self._journal.exited_ranks(number)
        attempt = Attempt(self._layout, number, lambda record: None if record.rank in told else self._exited(record))
        attempt.gather(range(self._plan.workers))
        return [attempt.records[rank] for rank in sorted(attempt.records)]

    def _conclude(self, records: list[ExitRecord]) -> Outcome | None:
        """How the run ended, or None when all workers are to be started again."""
        self._records = records
        state = self._journal.state
        decision = decide(
            records,
            self._plan.restarts,
            restarts_used=state.restarts_used,
            out_of_memory_used=state.out_of_memory_used,
            stopping=self._switch.asked(),
            overdue=state.deadline is not None and time.time() >= state.deadline,
        )
        if isinstance(decision, Outcome):
            return decision
        self._delivery.note_doubts(state.attempt)
        self._restart(decision)
        return None

    def _restart(self, decision: Restart) -> None:
        state = self._journal.state
        self._journal.change(
            concluded=state.attempt,
            restarts_used=state.restarts_used + 1,
            out_of_memory_used=state.out_of_memory_used + (decision.cause is ExitCause.OUT_OF_MEMORY),
        )
        self._journal.emit("restarted", attempt=state.attempt + 1, cause=decision.message)

    def _exited(self, record: ExitRecord) -> None:
        self._journal.emit("exited", record=record.model_dump(mode="json"))

    def _stopped(self) -> Outcome:
        return Outcome(ExitCause.STOPPED, "It was stopped before its workers were started.")

    def _sweep(self) -> StopReport:
        """Prove that no process of the run is left but this one."""
        directory, this = self._layout.directory, {os.getpid()}
        if not _has_children() and not find_processes(directory, excluding=this):
            report = StopReport()  # one look is enough: nobody is below a subreaper that could fork meanwhile
        else:
            report = end_processes(directory, 0, excluding=this)
        self._swept = report.remaining == 0
        return report

    def _make_room(self) -> None:
        """On a full disk the workers' scratch makes room for the last words."""
        for rank in range(self._plan.workers):
            remove_tree(self._layout.worker(rank) / TMP)

    def _clear(self) -> None:
        """Give back what the workers had, as none is left."""
        report = StopReport() if self._swept else self._sweep()
        if self._switch.asked():
            stopped = [record for record in self._records if record.cause is ExitCause.STOPPED]
            killed = sum(record.signal == signal.SIGKILL for record in stopped)
            by_supervisors = StopReport(terminated=len(stopped) - killed, killed=killed)
            write_json(self._layout.directory / "stop-report.json", _sum(report, by_supervisors).model_dump())
        for cgroup in self._cgroups:
            cgroup.remove()
        self._ports.release()
        release(self._layout.directory)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _sum(one: StopReport, other: StopReport) -> StopReport:
    return StopReport(
        terminated=one.terminated + other.terminated,
        killed=one.killed + other.killed,
        remaining=one.remaining + other.remaining,
    )


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
