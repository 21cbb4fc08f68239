"""Plans for the tests of what is made of them."""

from datetime import UTC, datetime
from typing import Any

from blocks.domain.plan import InputKind, PlannedInput, PlannedObject, Resources, RunImage, RunPlan

STORE = "obs://store.example"


def source(*keys: str) -> PlannedInput:
    """The algorithm, as files in the object store."""
    objects = tuple(
        PlannedObject(key=key, path=f"{STORE}/bucket/source/{key}", size=len(key), etag=f"etag-of-{key}")
        for key in keys
    )
    return PlannedInput(kind=InputKind.SOURCE, path=f"{STORE}/bucket/source", connection="store", objects=objects)


def make_plan(**changes: Any) -> RunPlan:
    """One worker of one program; `changes` are fields of the plan."""
    plan = {
        "run_id": "training-7",
        "created": datetime(2030, 1, 1, tzinfo=UTC),
        "labels": {"registry": "reg-1", "training": "7"},
        "workers": 1,
        "resources": Resources(vcpus=2, memory_mib=4096),
        "image": RunImage(name="torch-2.7", python="3.11", container="registry.example/torch:2.7"),
        "entry_point": "main.py",
        "inputs": (source("main.py"),),
        "storage_mib": 10240,
        "time_limit_seconds": 3600,
    }
    return RunPlan.model_validate({**plan, **changes})
