"""Refuses what the quotas of the namespace never allow."""

import re
from collections.abc import Mapping

from blocks.cluster.capacity import Room
from blocks.cluster.kubernetes.api import Api, ApiError
from blocks.domain.errors import CapacityError
from blocks.domain.plan import RunPlan

_FACTORS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30,
    "Ti": 2.0**40,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9.]+)([A-Za-z]*)")


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
    needs = Room(plan.resources.vcpus, plan.resources.memory_mib, plan.resources.gpus).times(plan.workers)
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


def quantity(text: str) -> float | None:
    """What a quantity of Kubernetes, such as `500m` or `2Gi`, stands for; None for no quantity."""
    found = _QUANTITY.fullmatch(text)
    return float(found[1]) * _FACTORS[found[2]] if found and found[2] in _FACTORS else None
