"""From a pod's status to how its worker ended: a pure function of what the API server tells."""

import json
from datetime import UTC, datetime
from typing import Any

from blocks.cluster.kubernetes.manifests import INSTALL, STAGE, SYNC, WORKER
from blocks.cluster.kubernetes.names import Object, attempt_of, name_of, rank_of
from blocks.domain.plan import ExitCause, ExitRecord

OVER = ("Succeeded", "Failed")


def exit_of(pod: Object, *, job_failed: bool = False, stopping: bool = False) -> ExitRecord | None:
    """How the worker of a pod ended; None while it has not.

    Args:
        pod: As it is, or was last.
        job_failed: Whether its Job has failed already: then it was ended with the others.
        stopping: Whether somebody asked for the end of the run.
    """
    for cause, message, tail in _causes(pod, others=job_failed or stopping):
        return ExitRecord(
            attempt=attempt_of(pod),
            rank=rank_of(pod),
            began=_moment(_terminated(pod, WORKER).get("startedAt")),
            ended=_moment(_terminated(pod, WORKER).get("finishedAt")) or datetime.now(UTC),
            cause=cause,
            message=message,
            tail=tail,
        )
    return _own_record(pod, others=job_failed or stopping)


def lost_record(attempt: int, rank: int, message: str, cause: ExitCause = ExitCause.LOST) -> ExitRecord:
    """The record of a worker of which nothing is known but that it is not there any more."""
    return ExitRecord(attempt=attempt, rank=rank, began=None, ended=datetime.now(UTC), cause=cause, message=message)


def is_over(pod: Object) -> bool:
    """Whether nothing of it runs any more."""
    return pod["status"].get("phase") in OVER


def is_lost(pod: Object) -> bool:
    """Whether its node does not answer, and Kubernetes has given it up: nobody can tell what runs there."""
    evicted = _condition(pod, "DisruptionTarget").get("reason") == "DeletionByTaintManager"
    return evicted and not is_over(pod) and _condition(pod, "Ready").get("status") != "True"


def has_started(pod: Object) -> bool:
    """Whether its worker's container has run, or runs."""
    state = _state(pod, WORKER)
    return "running" in state or bool(state.get("terminated", {}).get("startedAt"))


def is_heard(pod: Object) -> bool:
    """Whether its sidecar tells something."""
    state = _state(pod, SYNC)
    return "running" in state or "terminated" in state


def started_at(pod: Object) -> datetime:
    """When its worker's container started."""
    state = _state(pod, WORKER)
    began = state.get("running", {}).get("startedAt") or state.get("terminated", {}).get("startedAt")
    return _moment(began) or datetime.now(UTC)


def is_staged(pod: Object) -> bool:
    """Whether its inputs are there."""
    return _terminated(pod, STAGE).get("exitCode") == 0


def staged_bytes(pod: Object) -> dict[str, Any]:
    """What the container that brings the inputs said it had brought."""
    found: dict[str, Any] = _document(_terminated(pod, STAGE).get("message")).get("bytes") or {}
    return found


def is_staging(pod: Object) -> bool:
    """Whether one of its init containers runs, or has."""
    return any("running" in s or "terminated" in s for s in (_state(pod, STAGE), _state(pod, INSTALL)))


def delivery_of(pod: Object) -> dict[str, Any]:
    """What its sidecar said when it had uploaded what there was: `cause`, `message`, `uploads`."""
    return _document(_terminated(pod, SYNC).get("message"))


def _causes(pod: Object, *, others: bool) -> "list[tuple[ExitCause, str, str]]":
    """The first of these decides; none when the worker's own record does."""
    status, found = pod["status"], []
    reason, said = status.get("reason", ""), status.get("message", "").rstrip(".")
    stage, install, worker = (_terminated(pod, name) for name in (STAGE, INSTALL, WORKER))
    if is_lost(pod):
        found.append((ExitCause.LOST, f"Its node {pod['spec'].get('nodeName')} does not answer any more.", ""))
    if reason == "Evicted":
        full = "ephemeral" in said or "emptyDir" in said.lower() or "EmptyDir" in said
        remedy = "Raise the data-storage size (--storage-gb), or use less." if full else ""
        cause = ExitCause.DISK_FULL if full and "node was low" not in said else ExitCause.LOST
        found.append((cause, f"The node evicted its pod: {said}. {remedy}".strip(), ""))
    if reason == "DeadlineExceeded":
        found.append((ExitCause.TIME_LIMIT, "The time limit was reached.", ""))
    if stage.get("exitCode"):
        document = _document(stage.get("message"))
        own = f"The container that brings the inputs ended with code {stage['exitCode']} ({stage.get('reason')})."
        found.append((ExitCause(document.get("cause", ExitCause.LAUNCHER_ERROR)), document.get("message", own), ""))
    if install.get("exitCode"):
        words = (install.get("message") or "").strip()
        message = f"requirements.txt could not be installed. The installer says:\n{words[-1500:]}"
        found.append((ExitCause.ENVIRONMENT_FAILED, message, ""))
    if not found and worker and not _document(worker.get("message")):
        found.append(_without_a_word(pod, worker))
    if not found and is_over(pod) and not worker:
        cause = ExitCause.STOPPED if others else ExitCause.LOST
        found.append((cause, f"Its pod ended before the entry point was started. {said}".strip(), ""))
    return found


def _without_a_word(pod: Object, worker: Object) -> tuple[ExitCause, str, str]:
    """Of a container that was killed with its supervisor, or could not start it."""
    if worker.get("reason") == "OOMKilled":
        return ExitCause.OUT_OF_MEMORY, (
            "The memory of its flavor ran out, and the system killed the entry point. "
            "Choose a flavor with more memory, or let it use less at a time."
        ), ""  # fmt: skip
    code, said = worker.get("exitCode"), worker.get("message") or ""
    if code in (126, 127, 128) or worker.get("reason") in ("StartError", "ContainerCannotRun"):
        message = f"The image's Python could not be started: {said or f'code {code}'}. "
        return ExitCause.ENVIRONMENT_FAILED, message + "Name it as container_python of the image's catalogue entry.", ""
    disruption = _condition(pod, "DisruptionTarget").get("message", "")
    return ExitCause.LOST, f"Its container was killed from outside (code {code}). {disruption}".strip(), ""


def _own_record(pod: Object, *, others: bool) -> ExitRecord | None:
    """What its supervisor left; one that was made to end from outside was lost, unless that was asked for."""
    document = _document(_terminated(pod, WORKER).get("message"))
    if not document:
        return None
    record = ExitRecord.model_validate(document)
    if record.cause is not ExitCause.STOPPED or others:
        return record
    disruption = _condition(pod, "DisruptionTarget")
    why = f"was evicted: {disruption['message']}" if disruption.get("message") else "was deleted"
    message = f"Its pod {name_of(pod)} {why}"
    return record.model_copy(update={"cause": ExitCause.LOST, "message": f"{message.rstrip('.')}."})


def _terminated(pod: Object, container: str) -> dict[str, Any]:
    found: dict[str, Any] = _state(pod, container).get("terminated") or {}
    return found


def _state(pod: Object, container: str) -> dict[str, Any]:
    status = pod["status"]
    for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if each["name"] == container:
            state: dict[str, Any] = each.get("state") or {}
            return state
    return {}


def _condition(pod: Object, kind: str) -> dict[str, Any]:
    conditions = pod["status"].get("conditions") or ()
    found: dict[str, Any] = next((c for c in conditions if c["type"] == kind), {})
    return found


def _document(text: str | None) -> dict[str, Any]:
    try:
        document = json.loads(text or "")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
