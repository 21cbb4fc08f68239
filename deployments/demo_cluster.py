"""What the demo needs to run on a cluster: a store that pods can reach, and images that the cluster has."""

import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

from blocks.connections.settings import ENVIRONMENT, Settings
from blocks.domain.catalogues import BUILT_IN
from blocks.domain.errors import InvalidInputError
from deployments.demo_store import BUCKET

LOOPBACK = "127.0.0.1"
CPU = "100m"
"""Of a worker of the demo, so that it runs on a small node, too."""


def store_host(settings: Settings) -> str:
    """Where the demo's S3 server listens: on loopback, or at this machine's address on the way to the cluster.

    Raises:
        InvalidInputError: No cluster is configured, or its image is not named.
    """
    if settings.cluster == "local":
        return LOOPBACK
    if not settings.image:
        remedy = "Make it with `python -m deployments.kubernetes.image --help`, and set MAKERFLOW_IMAGE."
        raise InvalidInputError("MAKERFLOW_IMAGE", "the demo on a cluster runs in the platform's image", remedy)
    from blocks.cluster.kubernetes.api import Api

    server = urlsplit(Api(settings.namespace).host)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))  # sends nothing
        return str(probe.getsockname()[0])


def use_cluster(settings: Settings) -> None:
    """Have the demo's outputs go to its store, and its images be the platform's, which has all that they need."""
    catalogue = Path(settings.home, "demo-catalogue.yaml")
    images = [i.model_dump(mode="json") | {"container": settings.image} for i in BUILT_IN.images]
    flavors = [flavor.model_dump(mode="json") | {"pod": {"requests": {"cpu": CPU}}} for flavor in BUILT_IN.flavors]
    for image in images:
        image["container_python"] = "python"
    catalogue.write_text(json.dumps({"images": images, "flavors": flavors}))  # JSON is YAML, too
    ENVIRONMENT["MAKERFLOW_CATALOGUE"] = str(catalogue)
    ENVIRONMENT["MAKERFLOW_ARTIFACTS"] = f"s3://{BUCKET}/outputs"
