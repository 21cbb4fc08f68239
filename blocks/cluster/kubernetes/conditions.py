"""The conditions of Jobs and pods: what Kubernetes has come to think of them."""

import re
from typing import Any

from blocks.cluster.kubernetes.names import Object


def condition_of(object: Object, kind: str) -> dict[str, Any]:
    """One condition; empty when there is none of this kind."""
    conditions = object["status"].get("conditions") or ()
    found: dict[str, Any] = next((c for c in conditions if c["type"] == kind), {})
    return found


def has_condition(object: Object, *kinds: str) -> bool:
    """Whether it has come so far."""
    return any(condition_of(object, kind).get("status") == "True" for kind in kinds)


def is_job_over(job: Object) -> bool:
    """Whether a Job makes no pods any more."""
    return has_condition(job, "Failed", "Complete", "FailureTarget")


def failure_reason(job: Object) -> str:
    """Kubernetes' word for why a Job failed."""
    return str(_failure(job).get("reason", ""))


def culprit(job: Object) -> str:
    """The name of the pod that a Job failed for, where Kubernetes names one."""
    found = re.search(r"[Pp]od [^/\s]+/(\S+) (?:failed|has) ", _failure(job).get("message", ""))
    return found[1] if found else ""


def _failure(job: Object) -> dict[str, Any]:
    return condition_of(job, "FailureTarget") or condition_of(job, "Failed")
