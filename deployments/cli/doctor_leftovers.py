"""What dead processes left behind: processes and directories of runs, half-done work, trainings that nobody follows.

It is what upkeep finds, which mends it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from deployments.cli.findings import Finding, fine, problem, warning

MEND = "`makerflow upkeep` does it."


def leftover_runs() -> Iterator[Finding]:
    """Processes of runs that are over or that nobody knows; records of runs that belong to no training."""
    from blocks.connections.platform import open_platform
    from blocks.upkeep.runs import REMEDY_OF_STRANGE_RUNS, left_runs

    platform = open_platform()
    keep = timedelta(days=platform.settings.keep_runs_days)
    left = left_runs(platform.cluster, platform.registry, datetime.now(UTC), keep)
    for run in left:
        if run.is_strange:
            message = f"the run {run.trace.run_id} belongs to {run.whose}"
            remedy = REMEDY_OF_STRANGE_RUNS.format(removal=platform.cluster.removal_of(run.trace.run_id))
            yield warning("leftovers", message, remedy)
        elif run.lives:
            message = f"the run {run.trace.run_id} lives (processes: {run.trace.processes}) and belongs to {run.whose}"
            yield problem("leftovers", message, f"End it: {MEND}")
        else:
            message = f"there are records of the run {run.trace.run_id}, which belongs to {run.whose}"
            yield warning("leftovers", message, f"Remove them: {MEND}")
    if not left:
        yield fine("leftovers", "every process and directory of a run belongs to a training")


def half_done_work() -> Iterator[Finding]:
    """What the cluster itself can remove without a doubt is removed, and told."""
    from blocks.connections.platform import open_platform

    for removed in open_platform().cluster.tidy():
        yield fine("leftovers", f"removed what a dead process had left half done: {removed}")


def dead_flows() -> Iterator[Finding]:
    """Trainings and tunings under way that no process follows."""
    from blocks.upkeep.trainings import unfollowed
    from deployments.cli.access import open_registry

    found = unfollowed(open_registry(), datetime.now(UTC), patience_seconds=0)
    for each in found:
        kind, name = each.row.kind, each.row.name
        yield problem(
            "leftovers",
            f"the {kind} {name} is {each.row.status.value}, but no process follows it",
            f"Go on with it: makerflow {kind} resume {name} ({MEND[:-1]} for all, after a while). "
            f"Or end it: makerflow {kind} stop {name}",
        )
    if not found:
        yield fine("leftovers", "every training and tuning under way is followed")
