"""Why a run waits, and whether waiting can help: a pure function of its objects and of Kubernetes' complaints."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from blocks.cluster.kubernetes.names import Object
from blocks.domain.plan import ExitCause


@dataclass(frozen=True)
class Trouble:
    """What a run waits for.

    Attributes:
        message: One sentence, and what to do.
        cause: How the run is to end when this lasts; None for what may well pass.
        patience_seconds: For how long it may last.
    """

    message: str
    cause: ExitCause | None = None
    patience_seconds: float = 0.0


def diagnose(job: Object | None, pods: Sequence[Object], warnings: Sequence[Object], vcpus: float) -> Trouble | None:
    """What is in the way of a run's pods; None when nothing is known to be.

    Args:
        job: Of the attempt.
        pods: Of the attempt.
        warnings: Events of type Warning about them.
        vcpus: What one worker asks for.
    """
    for pod in pods:
        for status in (*pod["status"].get("initContainerStatuses", ()), *pod["status"].get("containerStatuses", ())):
            waiting = (status.get("state") or {}).get("waiting") or {}
            if trouble := _image_trouble(waiting, status.get("image", "")):
                return trouble
    for pod in pods:
        for condition in pod["status"].get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return _unscheduled(condition.get("message", ""), vcpus)
    for warning in sorted(warnings, key=_last_seen, reverse=True):
        if trouble := _of_warning(warning, vcpus, pods):
            return trouble
    if job is not None and job["spec"].get("suspend"):
        return Trouble("waiting for its turn in the queue of Kueue")
    return None


def _image_trouble(waiting: dict[str, Any], image: str) -> Trouble | None:
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError"):
        return Trouble(f"The container of {image} cannot be made: {said}.", ExitCause.ENVIRONMENT_FAILED, 10)
    if reason in ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"):
        message = f"The image {image} cannot be pulled ({said.rstrip('.')[:400]}). "
        remedy = "Check its name in the catalogue, and MAKERFLOW_IMAGE_PULL_SECRETS when its registry asks for a key."
        return Trouble(message + remedy, ExitCause.ENVIRONMENT_FAILED, 120)
    return None


def _unscheduled(said: str, vcpus: float) -> Trouble:
    if "Insufficient cpu" in said:
        return Trouble(f"waiting for {vcpus:g} vCPU: {said}")
    return Trouble(f"waiting for a node: {said}")


def _of_warning(warning: Object, vcpus: float, pods: Sequence[Object]) -> Trouble | None:
    reason, said = warning.get("reason"), warning.get("message", "")
    if reason == "FailedCreate" and not pods:
        quota = re.search(r"exceeded quota: (\S+), requested: (.*), used: (.*), limited: (.*)", said)
        if quota and (cpu := re.search(r"requests\.cpu=(\S+?)(,|$)", quota[3])):
            limit = re.search(r"requests\.cpu=(\S+?)(,|$)", quota[4])
            return Trouble(
                f"waiting for {vcpus:g} vCPU: {_cpus(cpu[1])} of {_cpus(limit[1] if limit else '?')} are used, "
                f"which is all that the quota {quota[1]} of the namespace allows"
            )
        return Trouble(f"waiting for the cluster to allow its pods: {said}")
    if reason in ("FailedMount", "FailedAttachVolume"):
        return Trouble(f"waiting for a volume: {said}")
    return None


def _cpus(quantity: str) -> str:
    return f"{int(quantity[:-1]) / 1000:g}" if quantity.endswith("m") and quantity[:-1].isdigit() else quantity


def _last_seen(warning: Object) -> str:
    return str(warning.get("lastTimestamp") or warning.get("eventTime") or warning["metadata"]["creationTimestamp"])
