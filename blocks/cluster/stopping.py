"""Stop a run on this machine, whatever state it is in, and prove that nothing is left of it."""

import logging
import os
import signal
import time
from typing import NoReturn

from blocks.cluster import agent_lock, allocation, cgroups
from blocks.cluster.agent_process import agent_pid, start_agent
from blocks.cluster.base import Secrets
from blocks.cluster.events import EventLog, empty_logs, is_over
from blocks.cluster.layout import RunLayout, read_json, write_json
from blocks.cluster.processes import end_processes, find_processes, signal_process
from blocks.cluster.pulse import Pulse
from blocks.domain.errors import InUseError
from blocks.domain.plan import ExitCause, RunPhase, StopReport

UPLOAD_SECONDS = 300.0
"""How long a stopped run's agent may take, beyond the grace, to upload what the workers left."""

_ENDING_SECONDS = 15.0
"""How long it may take, beyond the grace, to end the workers. One that takes longer hangs."""

SILENT_SECONDS = 15.0
"""How long an agent, which looks about twice a second, may do nothing at all. One that is silent for longer hangs."""

_EXIT_SECONDS = 5.0
"""How long an agent may take to be gone after it has written the run's last event."""

_TOLD_SECONDS = 5.0
"""After so long beyond the grace, whoever waits is told for what."""

_WAITING = (
    "Waiting for the agent of %s (process %d), which uploads what the workers left. "
    "It is ended after %.0f s, or as soon as it does nothing for %.0f s."
)

logger = logging.getLogger("makerflow")


def stop_run(layout: RunLayout, grace_seconds: float, secrets: Secrets) -> StopReport:
    """Ask the agent to end the run; do it in its place when it is dead, or does not do it."""
    try:
        if not is_over(layout.events):
            write_json(layout.stop, {"grace_seconds": grace_seconds})
        lock = agent_lock.acquire(layout.lock)
        if lock is None:
            _ask_agent(layout)
            return _finish_after_agent(layout, grace_seconds)
        try:
            report = end_processes(layout.directory, grace_seconds)
            if not _start_delivery(layout, lock, secrets):
                return _add(report, _finish(layout))
        finally:
            os.close(lock)  # an agent that was started has its own copy
        return _add(report, _finish_after_agent(layout, 0))
    except FileNotFoundError:  # never launched, removed meanwhile, or its entry point removed its directory
        report = end_processes(layout.directory, grace_seconds)
        if not layout.directory.exists():  # else it was launched meanwhile, and waits for its turn
            allocation.release(layout.directory)
        return report


def claim_finished(layout: RunLayout) -> int:
    """The agent's lock of a run that is over, whose agent may need a moment more to be gone.

    Raises:
        FileNotFoundError: There is no such run.
        InUseError: It is not over.
    """
    deadline = time.monotonic() + _EXIT_SECONDS
    while (lock := agent_lock.acquire(layout.lock)) is None:
        if not is_over(layout.events):
            _refuse(layout, f"agent {agent_pid(layout)}")
        if time.monotonic() > deadline:
            end_processes(layout.directory, 0)
        time.sleep(0.01)
    if not is_over(layout.events):
        os.close(lock)
        _refuse(layout, "lost")
    return lock


def _refuse(layout: RunLayout, why: str) -> NoReturn:
    raise InUseError("run", layout.run_id, "remove", [("run", layout.run_id, why)], "Stop it first.")


def _ask_agent(layout: RunLayout) -> None:
    pid = agent_pid(layout)
    if pid is not None:
        signal_process(layout.directory, pid, signal.SIGTERM)


def _start_delivery(layout: RunLayout, lock: int, secrets: Secrets) -> bool:
    """Have a new agent, which finds that it has to stop, upload what a dead one could not; whether there is one.

    Not when an output needs one of the secrets that the dead one had and who stops the run does not give.
    """
    state, settings, plan = (read_json(file) or {} for file in (layout.state, layout.settings, layout.plan))
    needed = {output["connection"] for output in plan.get("outputs", ())}
    if is_over(layout.events) or not state.get("attempt") or not needed or "secrets" not in settings:
        return False
    if not needed.isdisjoint(set(settings["secrets"]) - set(secrets)):
        return False
    try:
        start_agent(layout, lock, secrets)
    except OSError:  # the machine is too full, or too broken, to start anything
        return False
    return True


def _finish_after_agent(layout: RunLayout, grace_seconds: float) -> StopReport:
    """Wait for the agent, which knows that the run is to end; end it too when it has had enough time."""
    _wait_for_agent(layout, grace_seconds)
    while (lock := agent_lock.acquire(layout.lock)) is None:
        end_processes(layout.directory, 0)
    try:
        by_agent = StopReport.model_validate(read_json(layout.stop_report) or {})
        return _add(by_agent, _finish(layout))
    finally:
        os.close(lock)


def _wait_for_agent(layout: RunLayout, grace_seconds: float) -> None:
    """Until it is gone, or has had its time."""
    pulse, began, told, pause = Pulse(0), time.monotonic(), False, 0.01
    while agent_lock.is_held(layout.lock):
        pid = agent_pid(layout) or 0  # told a moment after the lock was taken
        if pid != pulse.pid:
            pulse = Pulse(pid)
        silent, beyond = pulse.silent_seconds(), time.monotonic() - began - grace_seconds
        if beyond > 0 and silent > SILENT_SECONDS:
            logger.warning("The agent of %s (process %d) hangs: it is ended by force.", layout.run_id, pid)
            return
        if beyond > UPLOAD_SECONDS:
            return
        if beyond > _ENDING_SECONDS and find_processes(layout.directory, excluding=[pid]):
            return
        if beyond > _TOLD_SECONDS and not told:
            told = True
            logger.warning(_WAITING, layout.run_id, pid, UPLOAD_SECONDS, SILENT_SECONDS)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)


def _finish(layout: RunLayout) -> StopReport:
    """With the agent's lock in hand: end what is left, and write the end if no agent has done so."""
    report = end_processes(layout.directory, 0)
    events = EventLog(layout.events, layout.run_id)
    try:
        if events.last is None or events.last["kind"] != "finished":
            _write_end(layout, events)
    finally:
        events.close()
    allocation.release(layout.directory)
    cgroups.remove_groups(layout.directory)
    return report


def _add(earlier: StopReport, later: StopReport) -> StopReport:
    return StopReport(
        terminated=earlier.terminated + later.terminated,
        killed=earlier.killed + later.killed,
        remaining=later.remaining,
    )


def _write_end(layout: RunLayout, events: EventLog) -> None:
    state = read_json(layout.state) or {}
    message = "The run was stopped before it was started."
    if state.get("attempt"):
        message = "The run was stopped. What ran it had died, so what was not uploaded by then is not. "
        message += f"Until the run is removed, it is in {layout.directory / 'workers'}."
    else:
        for fields in empty_logs(layout.plan):
            events.append("uploaded", **fields)
    events.append("finished", cause=ExitCause.STOPPED, message=message)
    finished = {"cause": ExitCause.STOPPED, "message": message}
    write_json(layout.state, {**state, "phase": RunPhase.FINISHED, "detail": message, "finished": finished})
