"""What the containers of a pod agree upon: their places, and what the manifest tells them. Standard library only."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

ROOT = Path("/makerflow")
"""A volume of the pod's own, laid out as the home of one machine: `RunLayout(ROOT, run_id)`."""

JOURNAL = Path("/makerflow-journal")
"""A volume of our own containers alone: what they tell, where no entry point can write."""

PROGRAMS = ROOT / "bin"
PACKAGES = ROOT / "packages"
PLANS = Path("/makerflow-plan")
"""The pieces of the plan, where our own image runs."""

STAGED = ROOT / "staged"
"""It is there once all that the entry point needs is."""

REQUESTS = Path("/makerflow-requests")
"""The pod's annotation that asks it to end, as a file `stop`."""

CACHE = Path("/makerflow-cache")
"""The node's cache of staged objects, where there is one."""

VARIABLE = "MAKERFLOW_POD"
"""The environment variable that holds `PodSettings` as JSON."""

CONFIDENTIAL_VARIABLE = "MAKERFLOW_CONFIDENTIAL"
"""The environment variable that hands the credentials to our own image, and to nothing else."""

RANK = "JOB_COMPLETION_INDEX"
"""Set by Kubernetes in every container of an Indexed Job."""

PLAN = "plan.json.gz"
CONFIDENTIAL = "confidential.json"
TERMINATED = 143
"""The exit code of a container that was asked to end."""

RENDEZVOUS_PORT, TENSORFLOW_PORT, BARRIER_PORT, USAGE_PORT = 29500, 29501, 29502, 29503


@dataclass(frozen=True)
class PodSettings:
    """What one attempt's manifest tells its pods.

    Attributes:
        attempt: From 1.
        addresses: Of the workers, by rank.
        deadline: Seconds of the epoch; None before the first attempt has started.
        cache_bytes: The bound of the node's cache; 0 for none.
        region: EM_REGION.
        app_key: EM_APPKEY.
        token: By which the pods of one run know each other; entry points never see it.
    """

    attempt: int
    addresses: tuple[str, ...]
    deadline: float | None = None
    cache_bytes: int = 0
    region: str = ""
    app_key: str = ""
    token: str = ""

    def to_json(self) -> str:
        """What `read` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> "PodSettings":
        """What the environment tells; keys that this version does not know are for others."""
        document = json.loads(environment[VARIABLE])
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        return cls(**{**known, "addresses": tuple(known["addresses"])})
