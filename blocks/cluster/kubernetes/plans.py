"""Reads a run's plan back from the Secrets that hold it."""

import base64
import gzip
from functools import lru_cache

from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.manifests import secret_name
from blocks.cluster.kubernetes.names import Object
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.pod_settings import PLAN
from blocks.domain.errors import NotFoundError
from blocks.domain.plan import RunPlan


def plan_of(api: Api, owner: Object, record: RunRecord) -> RunPlan:
    """The plan that a run was launched with.

    Raises:
        NotFoundError: Somebody deleted its Secret.
    """
    return _read(api, tuple(secret_name(owner, number) for number in range(record.secrets)))


@lru_cache(maxsize=16)
def _read(api: Api, names: tuple[str, ...]) -> RunPlan:
    pieces = []
    for number, name in enumerate(names):
        secret = api.get("secrets", name)
        if secret is None:
            raise NotFoundError("secret", name)
        pieces.append(base64.b64decode(secret["data"][f"{PLAN}.{number:02d}"]))
    return RunPlan.model_validate_json(gzip.decompress(b"".join(pieces)))
