"""Upkeep: what lost its process goes on, what has no owner ends, what is over leaves nothing behind."""

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun

from blocks.connections.platform import open_platform
from blocks.upkeep.findings import UpkeepReport
from blocks.upkeep.trainings import PATIENCE_SECONDS
from flows.training_flows import (
    copy_training_flow,
    create_training_flow,
    create_training_from_template_flow,
    resume_training_flow,
)
from flows.tuning_flows import (
    copy_tuning_flow,
    create_tuning_flow,
    create_tuning_from_template_flow,
    resume_tuning_flow,
)
from tasks.engine import run_flow
from tasks.flow_run_retention import remove_earlier_runs
from tasks.liveness import flow
from tasks.log_upkeep import tidy_log_store
from tasks.publishing import publish_report
from tasks.upkeep import end_runs, follow_trainings, mend_experiments, mend_flow_runs, remove_scratch
from tasks.upkeep_report import upkeep_report

LEASE = "upkeep"

_FLOWS: tuple[Flow[..., Any], ...] = (
    create_training_flow,
    create_training_from_template_flow,
    copy_training_flow,
    resume_training_flow,
    create_tuning_flow,
    create_tuning_from_template_flow,
    copy_tuning_flow,
    resume_tuning_flow,
)
CANCELLABLE = {flow.name: flow for flow in _FLOWS}
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
        return UpkeepReport(dry_run=dry_run, busy=True)
    with registry.lease(LEASE):
        died = mend_flow_runs(dry_run, _stop_cancelled)
        findings = (
            *died,
            *mend_experiments(dry_run, patience_seconds),
            *follow_trainings(dry_run, patience_seconds, died),
            *end_runs(dry_run),
            *remove_scratch(dry_run, thorough),
            *tidy_log_store(dry_run),
        )
    report = UpkeepReport(dry_run=dry_run, findings=findings)
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


def _stop_cancelled(flow_name: str, run: FlowRun) -> str:
    """Do what the runner does with a cancelled flow run, for the runner was gone as well."""
    flow = CANCELLABLE.get(flow_name)
    if flow is None or run.state is None:
        return ""
    for hook in flow.on_cancellation_hooks:
        hook(flow, run, run.state)
    return "; what it was about has ended"
