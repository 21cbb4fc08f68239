"""Upkeep: what lost its process goes on, what has no owner ends, what is over leaves nothing behind."""

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun

from blocks.connections.platform import open_platform
from blocks.domain.errors import NotFoundError
from blocks.domain.lifecycle import TUNING_UNDER_WAY, UNDER_WAY
from blocks.registry.records import Training, Tuning
from blocks.upkeep.findings import UpkeepReport
from blocks.upkeep.trainings import PATIENCE_SECONDS
from flows.training_flows import (
    copy_training_flow,
    create_training_flow,
    create_training_from_template_flow,
    resume_training_flow,
    training_of,
)
from flows.tuning_flows import (
    copy_tuning_flow,
    create_tuning_flow,
    create_tuning_from_template_flow,
    resume_tuning_flow,
    tuning_of,
)
from tasks.engine import run_flow
from tasks.flow_run_retention import remove_earlier_runs
from tasks.liveness import flow
from tasks.log_upkeep import tidy_log_store
from tasks.page_log import tell_page
from tasks.publishing import publish_report
from tasks.upkeep import Ending, end_runs, follow_trainings, mend_experiments, mend_flow_runs, remove_scratch
from tasks.upkeep_report import upkeep_report

LEASE = "upkeep"

_OF_TRAININGS: tuple[Flow[..., Any], ...] = (
    create_training_flow,
    create_training_from_template_flow,
    copy_training_flow,
    resume_training_flow,
)
_OF_TUNINGS: tuple[Flow[..., Any], ...] = (
    create_tuning_flow,
    create_tuning_from_template_flow,
    copy_tuning_flow,
    resume_tuning_flow,
)
CANCELLABLE = {flow.name: flow for flow in (*_OF_TRAININGS, *_OF_TUNINGS)}
"""The flows whose cancellation ends more than a process: their `on_cancellation` says what."""


@flow(name="upkeep", flow_run_name="upkeep")
def upkeep_flow(
    dry_run: bool = False, thorough: bool = False, patience_seconds: float = PATIENCE_SECONDS
) -> UpkeepReport:
    """Compare the registry with the cluster, the disk and this server, and mend what differs.

    Args:
        dry_run: Only look: report what would be done.
        thorough: Look at logs, events and caches also when that was done within the last hour.
        patience_seconds: So long a training may stay without anybody who follows it, as while it is being created.
    """
    registry = open_platform().registry
    if registry.is_leased(LEASE):
        tell_page("another upkeep is at work, and does all of it")
        return UpkeepReport(dry_run=dry_run, busy=True)
    with registry.lease(LEASE):
        died = mend_flow_runs(dry_run, _ending_of)
        findings = (
            *died,
            *mend_experiments(dry_run, patience_seconds),
            *follow_trainings(dry_run, patience_seconds, died),
            *end_runs(dry_run),
            *remove_scratch(dry_run, thorough),
            *tidy_log_store(dry_run),
        )
    report = UpkeepReport(dry_run=dry_run, findings=findings)
    tell_page(f"{len(findings)} finding{'s' * (len(findings) != 1)}")
    if findings:
        publish_report("upkeep", f"Upkeep: {len(findings)} findings", upkeep_report(report), unless_known=True)
    remove_earlier_runs()
    return report


def upkeep(*, dry_run: bool = False, thorough: bool = True, patience_seconds: float = PATIENCE_SECONDS) -> UpkeepReport:
    """Compare the registry with the cluster, the disk and the workflow server, and mend what differs.

    Args:
        dry_run: Only look.
        thorough: Look at logs, events and caches also when that was done within the last hour.
        patience_seconds: So long a training may stay without anybody who follows it, as while it is being created.
    """
    return run_flow(upkeep_flow, dry_run, thorough, patience_seconds)


def _ending_of(flow_name: str, run: FlowRun) -> Ending | None:
    """What the runner does with a cancelled flow run, for the runner was gone as well, or failed to do it."""
    flow, state = CANCELLABLE.get(flow_name), run.state
    row = _under_way(flow, run) if flow is not None else None
    if flow is None or state is None or row is None:
        return None
    if state.is_cancelled() and (row.changed > state.timestamp or open_platform().registry.is_leased(row.id)):
        return None  # somebody goes on with it since
    hooks = flow.on_cancellation_hooks

    def end() -> None:
        for hook in hooks:
            hook(flow, run, state)

    return Ending(row.name, end)


def _under_way(flow: Flow[..., Any], run: FlowRun) -> Training | Tuning | None:
    """What a flow run is about, while it is under way."""
    try:
        if flow in _OF_TUNINGS:
            tuning = tuning_of(run)
            return tuning if tuning.status in TUNING_UNDER_WAY else None
        training = training_of(run)
        return training if training.status in UNDER_WAY else None
    except NotFoundError:
        return None
