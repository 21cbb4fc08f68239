"""How much of what a pod asks for."""

from blocks.cluster.capacity import Room
from blocks.cluster.kubernetes.manifests import SIDECAR, SIDECAR_LIMITS, worker_resources
from blocks.domain.plan import RunPlan
from blocks.domain.quantities import quantity


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
