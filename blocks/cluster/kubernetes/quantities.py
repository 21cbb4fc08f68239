"""Kubernetes' quantities, and how much of what a pod asks for."""

import re

from blocks.cluster.capacity import Room
from blocks.cluster.kubernetes.manifests import SIDECAR, SIDECAR_LIMITS, worker_resources
from blocks.domain.plan import RunPlan

_FACTORS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)([a-zA-Z]{0,2})")


def requested(plan: RunPlan) -> Room:
    """What the pod of one worker asks for."""
    asked = worker_resources(plan)["requests"]
    cpu, memory = ((quantity(asked[name]) or 0.0) + (quantity(SIDECAR[name]) or 0.0) for name in ("cpu", "memory"))
    return Room(round(cpu, 3), int(memory) >> 20, plan.resources.gpus)


def limited(plan: RunPlan) -> Room:
    """What the pod of one worker may use at most: its sidecar, beside the container of ours or the user's."""
    most, ours = worker_resources(plan)["limits"], quantity(SIDECAR_LIMITS["memory"]) or 0.0
    memory = ours + max(quantity(most["memory"]) or 0.0, ours)
    return Room(round(quantity(most["cpu"]) or 0.0, 3), int(memory) >> 20, plan.resources.gpus)


def quantity(text: str) -> float | None:
    """What a quantity of Kubernetes, such as `500m` or `2Gi`, stands for; None for no quantity."""
    found = _QUANTITY.fullmatch(text)
    return float(found[1]) * _FACTORS[found[2]] if found and found[2] in _FACTORS else None
