"""Refuses stores at addresses by which a pod reaches only itself."""

from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from blocks.cluster.base import Secrets
from blocks.domain.errors import InvalidInputError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import PlannedInput, PlannedOutput, RunPlan


def check_stores(plan: RunPlan, secrets: Secrets, environment: Mapping[str, str]) -> None:
    """Refuse a plan that names a store on this machine by a loopback address.

    Args:
        plan: Names its stores by paths and connections.
        secrets: Connection name to what opens it.
        environment: Where the address of a store without a connection may be.

    Raises:
        InvalidInputError: It names the first, and says what to do.
    """
    places: tuple[PlannedInput | PlannedOutput, ...] = (*plan.inputs, *plan.outputs)
    for place in places:
        path = StoragePath.parse(place.path)
        if not path.is_object_store:
            continue
        known = secrets.get(place.connection, {}).get("endpoint_url", "")
        if path.scheme is Scheme.OBS:
            address, where = known or f"//{path.authority}", "in paths and by `makerflow connection set`"
        else:
            variables = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL", "")
            address, where = known or variables, "by AWS_ENDPOINT_URL, or the connection s3"
        if _is_loopback(urlsplit(address).hostname or ""):
            raise InvalidInputError(
                f"The store of {path}",
                f"{address.lstrip('/')} is this machine, which no pod reaches by that address",
                f"Name it by one of its addresses in the cluster's network, {where}.",
            )


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        address = ip_address(host)
        return address.is_loopback or address.is_unspecified
    return host == "localhost" or host.endswith(".localhost")
