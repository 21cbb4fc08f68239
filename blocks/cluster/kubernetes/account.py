"""Which cluster is meant, and who we are there: as KUBECONFIG says, else as Kubernetes tells a pod.

The official client writes the certificates and the private key that KUBECONFIG holds itself to files, and removes those
where the process ends by itself only. Here they are gone as soon as they are read.
"""

import os
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kubernetes import config as configuration
from kubernetes.client import ApiClient, Configuration
from kubernetes.config import ConfigException, kube_config
from urllib3.util.ssl_ import create_urllib3_context
from yaml import YAMLError

from blocks.domain.errors import InvalidInputError

STREAMS = 256
"""How many logs are followed at once; connections are made when they are needed."""

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LOADING = threading.Lock()
"""The client knows the files that it has written by what they hold: two that load the same one share it."""


@dataclass(frozen=True)
class Account:
    """An account of a cluster.

    Attributes:
        client: Asks the cluster in its name.
        name: What names it: KUBECONFIG's context, or that it is the pod's own.
        host: The API server's address.
        namespace: The one that is named with it.
    """

    client: ApiClient
    name: str
    host: str
    namespace: str


def open_account(files: str = "") -> Account:
    """The account to use here.

    Args:
        files: Where a configuration may be, as KUBECONFIG names them; empty for where the client looks itself. Where
            there is none, a pod is told by Kubernetes.

    Raises:
        InvalidInputError: There is no configuration, or none that can be used.
    """
    files = files or kube_config.KUBE_CONFIG_DEFAULT_LOCATION
    settings = Configuration()
    settings.connection_pool_maxsize = STREAMS
    settings.retries = False  # urllib3's own, which would log each try
    try:
        return _configured(settings, files)
    except Exception as error:  # the client raises whatever it comes across in a broken one
        ours = isinstance(error, ConfigException | OSError | YAMLError)  # others' words are of its Python
        said = (ours and " ".join(str(error).split())) or "it is no kubeconfig"
        if any(Path(file).expanduser().exists() for file in files.split(os.pathsep)):
            remedy = "Mend it, or set KUBECONFIG to another file."
            raise InvalidInputError(
                f"The cluster's configuration {files}", f"it cannot be used: {said}", remedy
            ) from error
    try:
        configuration.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
        namespace = _NAMESPACE_FILE.read_text(encoding="ascii").strip()
        return Account(ApiClient(settings), "this pod's account", str(settings.host), namespace)
    except (ConfigException, OSError) as error:
        raise InvalidInputError(
            "MAKERFLOW_CLUSTER=kubernetes",
            f"no cluster is configured here ({said})",
            "Set KUBECONFIG to a file that names one, or unset MAKERFLOW_CLUSTER.",
        ) from error


def _configured(settings: Configuration, files: str) -> Account:
    with _LOADING, TemporaryDirectory(prefix="makerflow-") as directory:
        configuration.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=files, client_configuration=settings, temp_file_path=directory
        )
        client = ApiClient(settings)
        client.rest_client.pool_manager.connection_pool_kw.update(_read(settings, Path(directory)))
    _, context = configuration.list_kube_config_contexts(config_file=files)  # type: ignore[no-untyped-call]
    namespace = str(context["context"].get("namespace") or "default")
    return Account(client, f"the context {context['name']}", str(settings.host), namespace)


def _read(settings: Configuration, directory: Path) -> dict[str, Any]:
    """What connections take in place of the files in the directory; others are read for each, as they may be renewed.

    Raises:
        OSError: A certificate or its key is none, or the key asks for a password.
    """
    read: dict[str, Any] = {}
    authority, certificate, key = settings.ssl_ca_cert, settings.cert_file, settings.key_file
    if _is_in(directory, authority):
        read |= {"ca_certs": None, "ca_cert_data": Path(str(authority)).read_text(encoding="ascii", errors="ignore")}
    if certificate and (_is_in(directory, certificate) or _is_in(directory, key)):
        context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED if settings.verify_ssl else ssl.CERT_NONE)
        context.load_cert_chain(certificate, key, password="")
        if not authority:
            context.load_default_certs()
        read |= {"ssl_context": context, "cert_file": None, "key_file": None}
    return read


def _is_in(directory: Path, file: str | None) -> bool:
    return bool(file) and Path(str(file)).parent == directory
