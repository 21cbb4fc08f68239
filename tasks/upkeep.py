"""The steps of upkeep: each compares two of registry, cluster, disk and workflow server, and mends what differs.

Each can be done at any time beside everything else: what somebody works on is told by its lease and left alone, and
what was found is looked at once more before it is changed.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import time

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from blocks.connections.client import client_of
from blocks.connections.platform import Platform, open_platform
from blocks.domain.lifecycle import UNDER_WAY, ExperimentStatus
from blocks.domain.plan import RunHandle
from blocks.registry.records import Experiment, FlowRunRecord, Query, UnderWay
from blocks.upkeep.caches import excesses
from blocks.upkeep.findings import Finding, Kind
from blocks.upkeep.runs import REMEDY_OF_STRANGE_RUNS, LeftRun, left_runs
from blocks.upkeep.scratch import old_logs, orphaned_events
from blocks.upkeep.trainings import Remedy, unfollowed
from tasks.dead_flow_runs import DIED, ENDED, GOES_ON, DeadRun, close_entry, close_run, dead_entries, dead_runs
from tasks.engine import reachable_api, step
from tasks.experiment import prepare_experiment
from tasks.log_collection import collect_logs
from tasks.mending import NOTHING, TROUBLE, WOULD_GO, Mending
from tasks.taking_up import GRACE_SECONDS, elsewhere, give_up, go_on, secrets_of, take_up

COUNTED_SECONDS = 3600.0
"""Files are counted at most so often unless somebody asks: that takes a second for each hundred thousand."""

_REMEDIES: Mapping[Remedy, tuple[Callable[[Platform, UnderWay], str], str]] = {
    Remedy.TAKE_UP: (take_up, "would be followed again"),
    Remedy.GO_ON: (go_on, "would be followed again"),
    Remedy.GIVE_UP: (give_up, "would be given up"),
}
"""What does it, and what a dry run says of it."""


@dataclass(frozen=True)
class Ending:
    """A training or tuning that goes on though its flow run was cancelled.

    Attributes:
        name: What it is called.
        end: Ends it.
    """

    name: str
    end: Callable[[], None]


EndingOf = Callable[[str, FlowRun], Ending | None]
"""What a cancelled run of the flow of this name was about; None when nothing of it goes on."""


@step("mend flow runs")
def mend_flow_runs(dry_run: bool, ending_of: EndingOf) -> tuple[Finding, ...]:
    """Close the flow runs whose process is gone, in the journal and on the workflow server."""
    platform, mending = open_platform(), Mending(dry_run)
    for record in mending.each(Kind.FLOW_RUN, "journal", lambda: dead_entries(platform.registry, seen=False)):
        remedy, would = partial(_close_entry, platform, record), "would be journaled as CRASHED"
        mending.mend(Kind.FLOW_RUN, record.id, DIED, remedy, would=would, name=record.name)
    api = reachable_api(platform.settings)
    if api:
        try:
            _mend_on_server(platform, mending, api, ending_of)
        except TROUBLE as error:
            mending.fail(Kind.FLOW_RUN, api, error)
    return mending.findings


@step("mend experiments")
def mend_experiments(dry_run: bool, patience_seconds: float) -> tuple[Finding, ...]:
    """Finish the creation of experiments that nobody finishes."""
    platform, mending = open_platform(), Mending(dry_run)
    begun = (ExperimentStatus.CREATE_REQUESTED, ExperimentStatus.CREATE_IN_PROGRESS)
    long_ago = datetime.now(UTC) - timedelta(seconds=patience_seconds)
    query = Query(status=begun, limit=1000)
    for row in mending.each(Kind.EXPERIMENT, "registry", lambda: platform.registry.experiments.page(query).items):
        if row.changed <= long_ago:
            found = f"It is {row.status.value}, and nobody goes on with that."
            mending.mend(
                Kind.EXPERIMENT, row.id, found, partial(_prepare, row), would="would be finished", name=row.name
            )
    return mending.findings


@step("follow trainings")
def follow_trainings(dry_run: bool, patience_seconds: float, died: Sequence[Finding]) -> tuple[Finding, ...]:
    """Have the trainings and tunings that nobody follows followed again; give up those whose followers die each time.

    Args:
        dry_run: Only look.
        patience_seconds: So long a training may stay without a follower.
        died: The flow runs that were found dead or ended early: what they followed need not be waited for, and what
            is to end with a cancelled one is left alone, also when that did not succeed.
    """
    platform, mending = open_platform(), Mending(dry_run)
    names = {one.name for one in died}
    ended, cancelled = ({one.name for one in died if one.found == found} for found in (ENDED, GOES_ON))
    look = partial(unfollowed, platform.registry, datetime.now(UTC), patience_seconds, died=names, ended=ended)
    for found in mending.each(Kind.TRAINING, "registry", look):
        if found.row.name in cancelled:
            continue
        row, message = found.row, f"It is {found.row.status.value}, and nobody follows it."
        kind, (act, would) = Kind(row.kind), _REMEDIES[found.remedy]
        try:
            advice = elsewhere(platform, row)
        except TROUBLE as error:
            mending.fail(kind, row.id, error)
            continue
        if advice:
            mending.leave(kind, row.id, message, advice, name=row.name)
        else:
            mending.mend(kind, row.id, message, partial(act, platform, row), would=would, name=row.name)
    return mending.findings


@step("end runs")
def end_runs(dry_run: bool) -> tuple[Finding, ...]:
    """End and remove what is on the cluster of trainings that are over or no more, save for another registry's."""
    platform, mending = open_platform(), Mending(dry_run)
    keep = timedelta(days=platform.settings.keep_runs_days)
    look = partial(left_runs, platform.cluster, platform.registry, datetime.now(UTC), keep)
    for run in mending.each(Kind.RUN, "cluster", look):
        found = f"{run.trace.processes} processes of it live" if run.trace.processes else "Its records are there"
        id, message = run.trace.run_id, f"{found}; it belongs to {run.whose}."
        if run.is_strange:
            advice = REMEDY_OF_STRANGE_RUNS.format(removal=platform.cluster.removal_of(id))
            mending.leave(Kind.RUN, id, message, advice, name=run.trace.labels.get("name", ""))
        else:
            name = run.training.name if run.training else ""
            would = "would be removed" if run.is_removable else "would be ended"
            mending.mend(Kind.RUN, id, message, partial(_end_run, platform, run), would=would, name=name)
    return mending.findings


@step("remove scratch")
def remove_scratch(dry_run: bool, thorough: bool) -> tuple[Finding, ...]:
    """Remove files past their keep time, what dead processes left half done, and what caches hold beyond their bounds.

    Args:
        dry_run: Only look; what the cluster's dead processes left is not looked at then.
        thorough: Look at all files now, not only once an hour.
    """
    platform, mending = open_platform(), Mending(dry_run)
    settings, registry, now = platform.settings, platform.registry, datetime.now(UTC)
    if not dry_run:
        for what in mending.each(Kind.SCRATCH, "cluster", platform.cluster.tidy):
            mending.mend(Kind.SCRATCH, what, "A process that died had left it half done.", lambda: "removed", would="")
        for _ in mending.each(Kind.SCRATCH, "leases", lambda: [registry.tidy_leases()]):
            pass
    stamp = settings.home / "cache" / "upkeep"
    if thorough or dry_run or _is_older(stamp, COUNTED_SECONDS):
        keep = timedelta(days=settings.keep_process_logs_days)
        logs = mending.each(Kind.SCRATCH, "logs", lambda: old_logs(settings.home, registry, now, keep))
        events = mending.each(Kind.SCRATCH, "events", lambda: orphaned_events(settings.home, registry, now))
        for scratch in (*logs, *events):
            remedy, why = partial(_remove, scratch.path), f"It is {scratch.why}."
            mending.mend(Kind.SCRATCH, str(scratch.path), why, remedy, would=WOULD_GO)
        for excess in mending.each(Kind.SCRATCH, "caches", lambda: excesses(settings, now)):
            mending.mend(Kind.SCRATCH, str(excess.place), f"It is {excess.found}.", excess.remove, would=WOULD_GO)
        if not dry_run:
            _touch(stamp)
    return mending.findings


def _mend_on_server(platform: Platform, mending: Mending, api: str, ending_of: EndingOf) -> None:
    with client_of(api) as client:
        for dead in dead_runs(client, api, platform.settings, platform.registry):
            try:
                _mend_run(platform, mending, client, dead, ending_of)
            except TROUBLE as error:
                mending.fail(Kind.FLOW_RUN, dead.id, error)


def _mend_run(
    platform: Platform, mending: Mending, client: SyncPrefectClient, dead: DeadRun, ending_of: EndingOf
) -> None:
    ending = _ending_of(client, dead, ending_of)
    if ending is not None:
        remedy = partial(_end_cancelled, platform, client, dead, ending)
        mending.mend(Kind.FLOW_RUN, dead.id, GOES_ON, remedy, would="would be ended", name=ending.name)
    elif dead.is_open:
        remedy = partial(_close_run, platform, client, dead)
        mending.mend(Kind.FLOW_RUN, dead.id, dead.found, remedy, would="would be closed", name=dead.name)
    elif dead.is_crashed:
        remedy = partial(_end_entry, platform, dead)
        mending.mend(Kind.FLOW_RUN, dead.id, dead.found, remedy, would="would be noted", name=dead.name)
    elif not mending.dry_run:
        platform.registry.flow_runs.end(dead.id)  # its server knows how it ended, or knows nothing of it


def _close_entry(platform: Platform, record: FlowRunRecord) -> str:
    close_entry(platform.registry, record)
    return "journaled as CRASHED"


def _end_entry(platform: Platform, dead: DeadRun) -> str:
    platform.registry.flow_runs.end(dead.id)
    return "noted; its training is looked at"


def _end_cancelled(platform: Platform, client: SyncPrefectClient, dead: DeadRun, ending: Ending) -> str:
    ending.end()
    if dead.is_open:
        close_run(client, dead)
    platform.registry.flow_runs.end(dead.id)
    return "ended"


def _close_run(platform: Platform, client: SyncPrefectClient, dead: DeadRun) -> str:
    done = close_run(client, dead)
    platform.registry.flow_runs.end(dead.id)
    return done


def _ending_of(client: SyncPrefectClient, dead: DeadRun, ending_of: EndingOf) -> Ending | None:
    if dead.run is None or not (dead.is_cancelling or dead.is_cancelled):
        return None
    return ending_of(client.read_flow(dead.run.flow_id).name, dead.run)


def _prepare(row: Experiment) -> str:
    return f"finished: {prepare_experiment.task.fn(row.id).status.value}"


def _end_run(platform: Platform, run: LeftRun) -> str:
    id = run.trace.run_id
    if platform.registry.is_leased(id):
        return NOTHING  # somebody works on it again, and upkeep waits for nobody
    with platform.registry.lease(id):
        known = platform.registry.overview.standing([id]).get(id)
        if known is not None and known.status in UNDER_WAY:
            return NOTHING  # it was asked for again meanwhile
        if all(trace.run_id != id for trace in platform.cluster.traces()):
            return NOTHING  # whoever worked on it was about to remove it
        handle, done = RunHandle(cluster="", run_id=id), ""
        if run.lives:
            secrets = secrets_of(platform, platform.registry.trainings.get(id)) if known else {}
            report = platform.cluster.stop(handle, GRACE_SECONDS, secrets)
            done = f"ended ({report.terminated + report.killed} processes)"
        if run.is_removable:
            if known is not None:
                collect_logs(platform, platform.registry.trainings.get(id), handle)
            platform.cluster.remove(handle)
            done = "removed"
        return done


def _remove(path: Path) -> str:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return "removed"


def _is_older(stamp: Path, seconds: float) -> bool:
    with suppress(FileNotFoundError):
        return time() - stamp.stat().st_mtime > seconds
    return True


def _touch(stamp: Path) -> None:
    stamp.parent.mkdir(exist_ok=True, mode=0o700)
    stamp.touch()
