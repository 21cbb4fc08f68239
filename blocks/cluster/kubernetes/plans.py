"""Reads a run's plan back from the Secrets that hold it."""

import base64
import gzip
from functools import lru_cache

from blocks.cluster.kubernetes.api import Api
from blocks.cluster.kubernetes.record import RunRecord
from blocks.cluster.pod_settings import PLAN
from blocks.domain.errors import NotFoundError
from blocks.domain.plan import RunPlan


def plan_of(api: Api, run: str, record: RunRecord) -> RunPlan:
    """The plan that a run was launched with.

    Raises:
        NotFoundError: Somebody deleted its Secret.
    """
    return _read(api, run, record.secrets, record.created.isoformat())


@lru_cache(maxsize=16)
def _read(api: Api, run: str, secrets: int, created: str) -> RunPlan:
    pieces = []
    for number in range(secrets):
        secret = api.get("secrets", run + (f"-{number}" if number else ""))
        if secret is None:
            raise NotFoundError("secret of the run", run)
        pieces.append(base64.b64decode(secret["data"][f"{PLAN}.{number:02d}"]))
    return RunPlan.model_validate_json(gzip.decompress(b"".join(pieces)))
