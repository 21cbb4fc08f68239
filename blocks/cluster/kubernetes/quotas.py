"""Refuses what the quotas of the namespace never allow."""

from collections.abc import Iterator, Mapping

from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.manifests import SIDECAR_LIMITS
from blocks.cluster.kubernetes.quantities import limited, requested
from blocks.domain.errors import CapacityError
from blocks.domain.plan import RunPlan
from blocks.domain.quantities import quantity

_MIB = 1 << 20
_REMEDY = "Use a smaller flavor or fewer workers, or have the quota raised."
_MOST_MEMORY = "MiB of memory at most"
_OURS = f" A pod counts twice {SIDECAR_LIMITS['memory']} at least, for the platform's own containers."


def check_quotas(api: Api, plan: RunPlan) -> None:
    """Refuse a plan whose workers no quota will ever let run together.

    Raises:
        CapacityError: It says what was asked for and what the quota allows.
    """
    try:
        quotas = api.list("resourcequotas", {}).get("items", ())
    except ApiError as error:
        if error.status == 403:  # without the right to look, Kubernetes says it later
            return
        raise
    for quota in quotas:
        if not quota["spec"].get("scopes") and not quota["spec"].get("scopeSelector"):  # else it may be for others
            check_fits(plan, str(quota["metadata"]["name"]), quota["spec"].get("hard", {}))


def check_fits(plan: RunPlan, name: str, hard: Mapping[str, str]) -> None:
    """Refuse what one quota never allows.

    Raises:
        CapacityError: As above.
    """
    for resources, needed, per_unit, unit in _needs(plan):
        limits = [limit for each in resources if (limit := quantity(hard.get(each, ""))) is not None]
        if limits and needed > min(limits):
            raise CapacityError(
                f"The run {plan.run_id} can never be placed in this namespace",
                f"{needed / per_unit:g} {unit}",
                f"{min(limits) / per_unit:g} {unit} by its quota {name}",
                _REMEDY + (_OURS if unit == _MOST_MEMORY else ""),
            )


def _needs(plan: RunPlan) -> Iterator[tuple[tuple[str, ...], float, int, str]]:
    """The names by which quotas call a resource, how much of it all workers need, and how that is told."""
    room, most = requested(plan).times(plan.workers), limited(plan).times(plan.workers)
    yield ("requests.cpu", "cpu"), room.vcpus, 1, "vCPU"
    yield ("requests.memory", "memory"), room.memory_mib * _MIB, _MIB, "MiB of memory"
    yield ("limits.cpu",), most.vcpus, 1, "vCPU at most"
    yield ("limits.memory",), most.memory_mib * _MIB, _MIB, _MOST_MEMORY
    yield (f"requests.{plan.pod.gpu_resource}",), room.gpus, 1, "GPU"
    yield ("pods", "count/pods"), plan.workers, 1, "pods"
    yield ("count/jobs.batch",), 1, 1, "Job"
    yield ("configmaps", "count/configmaps"), 1, 1, "ConfigMap"
    yield ("secrets", "count/secrets"), 1, 1, "Secret"
    yield ("services", "count/services"), plan.workers > 1, 1, "Service"
