"""From settings to adapters: the one place that decides which implementation serves which interface."""

from collections.abc import Hashable
from functools import cached_property, lru_cache

from blocks.cluster.base import Cluster, Secrets
from blocks.cluster.local import LocalCluster
from blocks.connections.settings import ENVIRONMENT, Settings, make_home, read_settings
from blocks.domain.catalogues import Catalogue, load_catalogue
from blocks.domain.errors import InvalidInputError, UnknownStoreError
from blocks.domain.paths import Scheme, StoragePath
from blocks.domain.plan import RunPlan
from blocks.logs.base import LogStore
from blocks.logs.forwarding import Forwarder
from blocks.logs.sqlite import SQLiteLogStore
from blocks.registry.database import Registry, open_registry
from blocks.storage.base import Storage
from blocks.storage.connection import Connection
from blocks.storage.open import open_storage

AWS = "aws"
"""The name, in a plan, of what the usual AWS environment and files give."""

NAS = "nas:"
"""What a NAS's connection begins with, in a plan: its ID follows, and the settings say where it is mounted."""

S3 = "s3"
"""The name of the connection that serves every s3:// path, when there is one."""


class Platform:
    """What this process works with. Safe to use from several threads; `open_platform` gives one per settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._connections: dict[str, Connection | None] = {"": None, AWS: None}
        self._storages: dict[Hashable, Storage] = {}

    @cached_property
    def registry(self) -> Registry:
        """The registry, its migrations applied."""
        make_home(self.settings)
        return open_registry(self.settings.database_url)

    @cached_property
    def catalogue(self) -> Catalogue:
        """Images, flavors and provided algorithms, the user's own on top of the built-in ones."""
        return _read_catalogue(self.settings)

    @cached_property
    def cluster(self) -> Cluster:
        """What runs workers.

        Raises:
            InvalidInputError: It is to be Kubernetes, and no cluster is configured.
        """
        settings = self.settings
        if settings.cluster == "kubernetes":
            return self._kubernetes()
        return LocalCluster(
            settings.home,
            vcpus=settings.cpus or None,
            memory_mib=settings.memory_mib or None,
            cache_bytes=int(settings.cache_gb * 2**30),
            region=settings.region,
            app_key=settings.app_key,
        )

    def _kubernetes(self) -> Cluster:
        from blocks.cluster.kubernetes.cluster import (
            KubernetesCluster,
        )  # its client takes a fifth of a second to import
        from blocks.cluster.kubernetes.manifests import Site

        settings = self.settings
        site = Site(
            image=settings.image,
            pull_secrets=settings.image_pull_secrets,
            service_account=settings.service_account,
            run_as_user=settings.run_as_user,
            queue=settings.queue,
            node_cache=settings.node_cache,
            cache_bytes=int(settings.cache_gb * 2**30),
            nas_volumes=settings.nas_volumes,
            region=settings.region,
            app_key=settings.app_key,
        )
        return KubernetesCluster(site, settings.namespace, ENVIRONMENT)

    def check_cluster(self, plan: RunPlan | None) -> None:
        """Refuse to act for a run of another cluster: this one knows nothing of it, as if it were gone.

        Raises:
            InvalidInputError: It is for another one than the settings choose.
        """
        if refusal := self.refusal(plan):
            raise refusal

    def refusal(self, plan: RunPlan | None) -> InvalidInputError | None:
        """Why nothing can be done here for a run: it is on another cluster, that is of another kind or namespace."""
        if plan is None or plan.place in ("", self.cluster.place):
            return None
        cluster, _, namespace = plan.place.partition("/")
        needed = f"MAKERFLOW_CLUSTER={cluster}" + (f" and MAKERFLOW_NAMESPACE={namespace}" if namespace else "")
        return InvalidInputError(
            f"What runs on {plan.place}",
            f"the settings choose {self.cluster.place}, which knows nothing of it",
            f"Set {needed}, and try again.",
        )

    def check_image(self) -> None:
        """Refuse to run anything on Kubernetes without the platform's own image.

        Raises:
            InvalidInputError: It is not set.
        """
        if self.settings.cluster == "kubernetes":
            from blocks.cluster.kubernetes.launching import check_image

            check_image(self.settings.image)

    @property
    def own_place(self) -> StoragePath:
        """Where the platform keeps what it makes itself, such as outputs for which a training names no path.

        Raises:
            InvalidInputError: Workers cannot reach this machine, and no other place is set.
        """
        place = StoragePath.parse(self.settings.artifacts or f"file://{self.settings.home}/outputs")
        if not self.cluster.reaches(place):
            raise InvalidInputError(
                "A training without a path for its output, or for its checkpoints",
                "its workers cannot write to this machine's disk",
                "Set MAKERFLOW_ARTIFACTS, as obs://s3.example.com/bucket/a, or give --output and --checkpoint-output.",
            )
        return place

    @cached_property
    def log_store(self) -> LogStore | None:
        """What keeps lines of output; None when the settings switch it off."""
        return None if self.settings.log_store == "off" else self.kept_logs

    @cached_property
    def kept_logs(self) -> LogStore:
        """The same, also when it is switched off: what it has kept before is to go when its time is up."""
        return SQLiteLogStore(self.settings.log_directory, most_bytes=self.settings.log_store_bytes)

    @cached_property
    def log_forwarder(self) -> Forwarder | None:
        """What sends the log store's records to a collector; None when the settings name none."""
        settings = self.settings
        if self.log_store is None or not settings.log_collector_url:
            return None
        authorization = settings.log_collector_authorization.get_secret_value()
        place = settings.log_directory / "forwarded"
        return Forwarder(self.log_store, place, settings.log_collector_url, authorization)

    def connection_name(self, path: StoragePath) -> str:
        """The name of the connection that opens `path`: what a plan holds.

        Raises:
            UnknownStoreError: This installation knows no such NAS or endpoint.
        """
        if path.scheme is Scheme.FILE:
            return ""
        if path.scheme is Scheme.NAS:
            return self._nas(path)
        entries = self.registry.connections
        named_s3 = (entry for entry in entries.list() if entry.name == S3)
        found = entries.find(path.authority) if path.scheme is Scheme.OBS else next(named_s3, None)
        if found:
            return found.name
        if path.scheme is Scheme.OBS:
            raise UnknownStoreError(
                str(path),
                f"no connection to the endpoint {path.authority} is known",
                f"Make one: `makerflow connection set {path.authority}`.",
            )
        return AWS

    def connection(self, name: str) -> Connection | None:
        """The connection of that name with its secrets; None where the usual environment is used.

        Raises:
            NotFoundError: There is no such connection.
        """
        if name.startswith(NAS):
            return Connection(directory=str(self.settings.nas.get(name.removeprefix(NAS), "")))
        if name not in self._connections:
            from blocks.connections.s3 import load_connection  # Prefect is imported only where a Block is read

            self._connections[name] = load_connection(self.settings, name)
        return self._connections[name]

    def forget(self, name: str) -> None:
        """Read a connection anew when it is used next: it has been changed or deleted."""
        self._connections.pop(name, None)
        self._storages.clear()

    def storage(self, path: StoragePath) -> Storage:
        """The store of `path`.

        Raises:
            UnknownStoreError: This installation does not know it.
        """
        name = self.connection_name(path)
        account = frozenset(pair for pair in ENVIRONMENT.items() if pair[0].startswith("AWS_"))
        key = (name, path.scheme, path.authority, account)
        if key not in self._storages:  # clients of an object store take tens of milliseconds to make
            self._storages[key] = open_storage(path, self.connection(name))
        return self._storages[key]

    def secrets(self, plan: RunPlan) -> Secrets:
        """What the workers' agent needs to open the plan's connections."""
        names = {place.connection for place in plan.inputs} | {place.connection for place in plan.outputs}
        found = ((name, self._connection_of_workers(name)) for name in sorted(names))
        return {name: connection.to_mapping() for name, connection in found if connection}

    def _connection_of_workers(self, name: str) -> Connection | None:
        """The same, as it is where workers run: there a NAS may be mounted elsewhere."""
        if name.startswith(NAS) and self.settings.cluster == "kubernetes":
            from blocks.cluster.kubernetes.manifests import nas_directory

            return Connection(directory=nas_directory(name.removeprefix(NAS)))
        return self.connection(name)

    def _nas(self, path: StoragePath) -> str:
        directory = self.settings.nas.get(path.authority)
        if directory is None or not directory.is_dir():
            known = ", ".join(sorted(self.settings.nas)) or "none"
            why = "it is not a mounted directory" if directory else f"this installation knows the NAS: {known}"
            raise UnknownStoreError(
                str(path), why, 'Mount it and set MAKERFLOW_NAS, e.g. \'{"nas1": "/mnt/nas1"}\', then try again.'
            )
        return f"{NAS}{path.authority}"


def _read_catalogue(settings: Settings) -> Catalogue:
    file = settings.catalogue_file
    try:
        if not settings.is_catalogue_given and not file.exists():
            return load_catalogue()
        return load_catalogue(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is no text ({error.reason})"
        raise InvalidInputError(
            f"The catalogue {file}",
            f"it cannot be read: {why}",
            "Give a YAML file, e.g. MAKERFLOW_CATALOGUE=/etc/makerflow/catalogue.yaml, or unset MAKERFLOW_CATALOGUE.",
        ) from error


@lru_cache(maxsize=4)
def _platform(settings_json: str, registry_url: str) -> Platform:
    return Platform(read_settings())


def open_platform() -> Platform:
    """The platform of this process's settings, as they are in the environment now."""
    settings = read_settings()
    return _platform(settings.model_dump_json(), settings.database_url)
