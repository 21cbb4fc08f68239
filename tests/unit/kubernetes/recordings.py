"""What a real API server said of runs that were made to fail in every way: Kubernetes 1.34.

Each file of `recorded/` holds the Job, the pods, those that were gone by then as they were last, and the warnings.
"""

import json
from dataclasses import replace
from pathlib import Path

from blocks.cluster.kubernetes.names import Object
from blocks.cluster.kubernetes.view import Seen

FILES = sorted((Path(__file__).parent / "recorded").glob("*.json"))


def recorded(name: str) -> Seen:
    """One of the recordings."""
    document = json.loads((Path(__file__).parent / "recorded" / f"{name}.json").read_bytes())
    found = {kind: tuple(document[kind]) for kind in ("jobs", "pods", "departed", "warnings")}
    return Seen(**found)


def pod(seen: Seen, rank: int = 0) -> Object:
    """The pod of a worker, be it gone."""
    index = "batch.kubernetes.io/job-completion-index"
    return next(p for p in (*seen.pods, *seen.departed) if p["metadata"]["annotations"][index] == str(rank))


def saying(seen: Seen, message: str) -> Seen:
    """The same complaints in other words."""
    return replace(seen, warnings=tuple({**warning, "message": message} for warning in seen.warnings))
