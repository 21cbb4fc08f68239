"""Refuses what the quotas of the namespace never allow."""

from collections.abc import Mapping

from blocks.cluster.capacity import Room
from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.cluster.kubernetes.quantities import quantity, requested
from blocks.domain.errors import CapacityError
from blocks.domain.plan import RunPlan


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
        check_fits(plan, str(quota["metadata"]["name"]), quota["spec"].get("hard", {}))


def check_fits(plan: RunPlan, name: str, hard: Mapping[str, str]) -> None:
    """Refuse what one quota never allows.

    Raises:
        CapacityError: As above.
    """
    needs = requested(plan).times(plan.workers)
    cpu = quantity(hard.get("requests.cpu") or hard.get("cpu") or "") or needs.vcpus
    memory = quantity(hard.get("requests.memory") or hard.get("memory") or "")
    gpus = quantity(hard.get(f"requests.{plan.pod.gpu_resource}", ""))
    whole = Room(
        cpu, int(memory) >> 20 if memory is not None else needs.memory_mib, needs.gpus if gpus is None else int(gpus)
    )
    if not needs.fits(whole):
        raise CapacityError(
            f"The run {plan.run_id} can never be placed in this namespace",
            str(needs),
            f"{whole} by its quota {name}",
            "Use a smaller flavor or fewer workers, or have the quota raised.",
        )
