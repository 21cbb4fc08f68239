"""What this process needs before anything else can be reached: read at the edge, from `MAKERFLOW_*` variables."""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from blocks.domain.errors import InvalidInputError
from blocks.domain.images import CONTAINER_NAME
from blocks.domain.paths import StoragePath

ENVIRONMENT = os.environ
"""The one place where the product touches the process's environment, save for what the launcher starts."""

_SECONDS_A_DAY = 86400
_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_LONG_NAME = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_ACCOUNT = re.compile(_LONG_NAME)
_CLAIM = rf"claim:{_LONG_NAME}"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_NODE_CACHE = re.compile(rf"/[^:,]*|{_CLAIM}")
_VOLUME = re.compile(rf"{_CLAIM}|nfs:[A-Za-z0-9.-]+:/.*")
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:]+\])(?::(?P<port>[0-9]{{1,5}}))?")


class Settings(BaseSettings):
    """The process's settings. A variable that is empty is as good as not set; each field has an example of its value.

    Attributes:
        home: Where all state of this machine lives.
        registry_url: The registry's database; empty for SQLite below `home`. It may hold a password.
        prefect_api_url: A Prefect server's API, e.g. `http://127.0.0.1:4200/api`; empty for none.
        cpus: vCPUs that trainings may use in all; 0 for all of the machine's.
        memory_mib: Memory that trainings may use in all; 0 for all of the machine's.
        cache_gb: Bound of the cache of staged objects.
        package_cache_gb: Bound of the cache of Python packages, from which environments are built.
        keep_environments_days: How long an environment that no training uses is kept.
        keep_runs_days: How long the directory of a training that is over is kept when its logs could not be uploaded.
        keep_process_logs_days: How long is kept what processes of ours that follow trainings in the background print.
        keep_flow_runs_days: How long the workflow server of `makerflow up` keeps a flow run that is over.
        nas: NAS ID to the directory where it is mounted, as JSON: `{"nas1": "/mnt/nas1"}`.
        region: What entry points find in EM_REGION.
        app_key: What entry points find in EM_APPKEY.
        catalogue: A YAML file of further images and flavors; `catalogue.yaml` below `home` when it exists.
        access_string: `user:password` that `makerflow up` asks everybody for; empty to ask nobody on this machine.
        hosts: Further names to which `makerflow up` answers, with commas between them, such as those of a proxy that
            speaks TLS; each with its port where that is neither 80 nor 443.
        tensorboard_idle_minutes: A TensorBoard or dashboard that nobody used for so long is ended; it starts again when
            opened.
        log_store: `local` for the searchable store below `home`, `off` for none; what it kept goes in its time anyway.
        keep_log_store_days: How long the log store keeps what trainings print.
        log_store_gb: Bound of the log store; the oldest days go first. A day takes a quarter of it at most, and one
            training, or all trials of a tuning, a quarter of the day; what the platform says of them has room anyway.
        log_collector_url: Where the log store's records also go, as JSON; empty for nowhere.
        log_collector_authorization: The Authorization header for it, all of it.
        cluster: Where workers run: `local` for this machine, `kubernetes` for the cluster that KUBECONFIG or the pod's
            own account names. All that follows is for Kubernetes.
        namespace: Where their objects are made; empty for the namespace that KUBECONFIG or the pod's account names.
        image: The platform's own container image: it stages inputs and uploads outputs beside each worker.
        image_pull_secrets: Names of secrets for registries, with commas between them.
        artifacts: An `obs://` or `s3://` path for what the platform keeps itself: outputs for which a training names no
            path, and algorithms that lie on this machine.
        service_account: Of the pods of trainings; empty for the namespace's default one. None gets its token.
        queue: The Kueue queue that trainings wait in; empty for none.
        run_as_user: The user id of all containers of a run.
        node_cache: A directory of each node in which staged objects are kept for all runs, or `claim:NAME` for a
            PersistentVolumeClaim that is a directory of each node; empty for none.
        nas_volumes: NAS ID to the volume that is mounted in pods, as JSON: `{"nas1": "claim:shared"}` for a
            PersistentVolumeClaim, or `{"nas1": "nfs:server:/export"}`.
    """

    model_config = SettingsConfigDict(env_prefix="MAKERFLOW_", frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(default=Path("~/.makerflow"), examples=["/var/lib/makerflow"])
    registry_url: SecretStr = SecretStr("")
    prefect_api_url: str = Field(
        default="",
        validation_alias=AliasChoices("MAKERFLOW_PREFECT_API_URL", "PREFECT_API_URL"),
        examples=["http://127.0.0.1:4200/api"],
    )
    cpus: float = Field(default=0, ge=0, allow_inf_nan=False, examples=["8"])
    memory_mib: int = Field(default=0, ge=0, examples=["16384"])
    cache_gb: float = Field(default=50, gt=0, le=1e9, examples=["50"])
    package_cache_gb: float = Field(default=20, gt=0, le=1e9, examples=["20"])
    keep_environments_days: float = Field(default=30, ge=0, le=36500, examples=["30"])
    keep_runs_days: float = Field(default=7, ge=0, le=36500, examples=["7"])
    keep_process_logs_days: float = Field(default=14, ge=0, le=36500, examples=["14"])
    keep_flow_runs_days: float = Field(default=90, ge=1, le=36500, examples=["90"])
    nas: Annotated[dict[str, Path], NoDecode] = Field(default_factory=dict, examples=['\'{"nas1": "/mnt/nas1"}\''])
    region: str = "local"
    app_key: str = "makerflow"
    catalogue: Path = Field(default=Path("catalogue.yaml"), examples=["/etc/makerflow/catalogue.yaml"])
    access_string: SecretStr = Field(
        default=SecretStr(""),
        validation_alias=AliasChoices("MAKERFLOW_ACCESS_STRING", "PREFECT_SERVER_API_AUTH_STRING"),
        examples=["'user:a long password'"],
    )
    hosts: Annotated[tuple[str, ...], NoDecode] = Field(default=(), examples=["ml.example.com"])
    tensorboard_idle_minutes: float = Field(default=15, gt=0, le=1e6, examples=["15"])
    log_store: Literal["local", "off"] = Field(default="local", examples=["local"])
    keep_log_store_days: int = Field(default=30, ge=1, le=3650, examples=["30"])
    log_store_gb: float = Field(default=10, gt=0, le=1e9, examples=["10"])
    log_collector_url: str = Field(default="", examples=["https://collector.example.com/v1/logs"])
    log_collector_authorization: SecretStr = Field(default=SecretStr(""), examples=["'Bearer ...'"])
    cluster: Literal["local", "kubernetes"] = Field(default="local", examples=["kubernetes"])
    namespace: str = Field(default="", examples=["makerflow"])
    image: str = Field(default="", examples=["registry.example.com/makerflow:1.0"])
    image_pull_secrets: Annotated[tuple[str, ...], NoDecode] = Field(default=(), examples=["registry-key"])
    artifacts: str = Field(default="", examples=["obs://s3.example.com/makerflow"])
    service_account: str = Field(default="", examples=["makerflow-worker"])
    queue: str = Field(default="", examples=["user-queue"])
    run_as_user: int = Field(default=1000, ge=1, le=2**31 - 2, examples=["1000"])
    node_cache: str = Field(default="", examples=["/var/cache/makerflow"])
    nas_volumes: Annotated[dict[str, str], NoDecode] = Field(
        default_factory=dict, examples=['\'{"nas1": "claim:shared"}\'']
    )

    @field_validator("home", "catalogue")
    @classmethod
    def _expanded(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError as error:
            raise ValueError(f"there is no such user ({error})") from error

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.absolute()

    @field_validator("prefect_api_url", "log_collector_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if value and (parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0):
            raise ValueError("it is no URL of http or https")
        return value

    @field_validator("log_collector_url")
    @classmethod
    def _without_password(cls, value: str) -> str:
        if urlsplit(value).username is not None:
            raise ValueError(
                "it holds an account, which messages would show: use MAKERFLOW_LOG_COLLECTOR_AUTHORIZATION"
            )
        return value

    @field_validator("log_collector_authorization")
    @classmethod
    def _is_header(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not (text.isascii() and text.isprintable()):
            raise ValueError("it holds characters that no HTTP header may have")
        return value

    @field_validator("access_string")
    @classmethod
    def _is_account(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        user, _, password = text.partition(":")
        if text and not (user and password and text.isascii() and text.isprintable()):
            raise ValueError("it has to be user:password in printable ASCII")
        return value

    @field_validator("hosts", "image_pull_secrets", mode="before")
    @classmethod
    def _from_list(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("hosts", mode="before")
    @classmethod
    def _in_lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            found = _HOST.fullmatch(host)
            if not found or not 0 < int(found["port"] or 80) < 2**16:
                raise ValueError(f"{host!r} is no host name, with or without a port")
        return value

    @field_validator("artifacts")
    @classmethod
    def _is_in_object_store(cls, value: str) -> str:
        if value and not StoragePath.parse(value).is_object_store:
            raise ValueError("it is no path of an object store")
        return value

    @field_validator("namespace")
    @classmethod
    def _is_namespace(cls, value: str) -> str:
        if value and ("." in value or not _NAME.fullmatch(value)):
            raise ValueError("it is no name of a namespace (a to z, 0 to 9 and -, at most 63)")
        return value

    @field_validator("image")
    @classmethod
    def _is_image(cls, value: str) -> str:
        if value and not CONTAINER_NAME.fullmatch(value):
            raise ValueError("it is no name of a container image, such as registry.example.com/makerflow:1.0")
        return value

    @field_validator("image_pull_secrets")
    @classmethod
    def _are_secrets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a Secret (a to z, 0 to 9, - and ., at most 63)")
        return value

    @field_validator("service_account")
    @classmethod
    def _is_service_account(cls, value: str) -> str:
        if value and not _ACCOUNT.fullmatch(value):
            raise ValueError("it is no name of a service account (a to z, 0 to 9, - and ., at most 253)")
        return value

    @field_validator("queue")
    @classmethod
    def _is_queue(cls, value: str) -> str:
        if value and not _NAME.fullmatch(value):
            raise ValueError("it is no name of a queue (a to z, 0 to 9, - and ., at most 63)")
        return value

    @field_validator("node_cache")
    @classmethod
    def _is_directory_or_claim(cls, value: str) -> str:
        if value and not _NODE_CACHE.fullmatch(value):
            raise ValueError(
                "it is neither claim:NAME nor an absolute directory of the nodes without colons and commas"
            )
        return value

    @field_validator("nas_volumes")
    @classmethod
    def _are_volumes(cls, value: dict[str, str]) -> dict[str, str]:
        for nas, volume in value.items():
            if not _VOLUME.fullmatch(volume):
                raise ValueError(f"the volume of {nas!r}, {volume!r}, is neither claim:NAME nor nfs:SERVER:/PATH")
        return value

    @field_validator("nas", "nas_volumes", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"it is no JSON ({error})") from error

    @field_validator("nas")
    @classmethod
    def _mounts_are_absolute(cls, value: dict[str, Path]) -> dict[str, Path]:
        for nas, directory in value.items():
            if not directory.is_absolute():
                raise ValueError(f"the directory of {nas!r}, {str(directory)!r}, is not an absolute path")
        return value

    @property
    def log_store_bytes(self) -> int:
        """`log_store_gb` in bytes."""
        return int(self.log_store_gb * 10**9)

    @property
    def database_url(self) -> str:
        """The registry's SQLAlchemy URL."""
        return self.registry_url.get_secret_value() or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def catalogue_file(self) -> Path:
        """The user's additions to the catalogue; unless it was given, it need not exist."""
        return self.home / self.catalogue

    @property
    def is_catalogue_given(self) -> bool:
        """Whether somebody named that file."""
        return "catalogue" in self.model_fields_set

    @property
    def log_directory(self) -> Path:
        """Where the local log store lies."""
        return self.home / "logs" / "store"

    @property
    def server_file(self) -> Path:
        """Where `makerflow up` says the address of its API while it runs."""
        return self.home / "up" / "api"

    @property
    def prefect_database(self) -> Path:
        """The database of Prefect servers of our own."""
        return self.home / "prefect.db"

    @property
    def prefect_home(self) -> Path:
        """Prefect's own private state: its database and profiles."""
        return self.home / "prefect"


def read_settings() -> Settings:
    """The settings that the environment gives now.

    Raises:
        InvalidInputError: A variable is wrong; it says which, why, and how one looks that is right.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise _refusal(error) from error
    if ENVIRONMENT.get("MAKERFLOW_HOME"):
        ENVIRONMENT["MAKERFLOW_HOME"] = str(settings.home)  # what is started from here may work in another directory
    return settings


def make_home(settings: Settings) -> Path:
    """Make the home, for its owner alone: it comes to hold the keys of stores.

    Raises:
        InvalidInputError: It cannot be made there.
    """
    try:
        settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InvalidInputError(
            f"MAKERFLOW_HOME={settings.home}",
            f"it cannot be made a directory ({error.strerror})",
            "Set MAKERFLOW_HOME to a directory that you can write to, e.g. MAKERFLOW_HOME=~/.makerflow.",
        ) from error
    return settings.home


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Prefect's settings, client's and server's: a private home, nothing phoned home, no ephemeral server."""
    account = own_account_at(settings, settings.prefect_api_url)
    return ({"PREFECT_API_AUTH_STRING": account} if account else {}) | {
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{settings.prefect_database}",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        # By itself it removes events alone. Flow runs that are over go with their task runs, logs and artifacts.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(settings.keep_flow_runs_days * _SECONDS_A_DAY),
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }


def own_api(settings: Settings) -> str:
    """The API of `makerflow up` on this home; empty while it does not serve."""
    with suppress(OSError):
        return settings.server_file.read_text().strip()
    return ""


def own_account_at(settings: Settings, api: str) -> str:
    """`user:password` by which this home's own processes enter the front door of `makerflow up`.

    Args:
        settings: Of the home.
        api: The API that is to be entered; empty for that of `makerflow up`.

    Returns:
        Empty where the API is another's, or nothing runs.
    """
    with suppress(OSError):
        if (own := own_api(settings)) and api.rstrip("/") in ("", own):
            from blocks.gateway.front_door import front_door_token, own_account  # only where one runs: it takes time

            return own_account(front_door_token(settings.server_file.parent))
    return ""


def prepare_prefect() -> None:
    """Give Prefect a home and its settings before it is imported; what the user has set in the environment stays.

    Raises:
        InvalidInputError: A variable is wrong, or the home cannot be made.
    """
    settings = read_settings()
    make_home(settings)  # in which Prefect makes its own, and complains where it cannot
    for name, value in prefect_environment(settings).items():
        ENVIRONMENT.setdefault(name, value)


def _refusal(error: ValidationError) -> InvalidInputError:
    """What is wrong with the first variable that is."""
    detail = error.errors(include_url=False)[0]
    field = str(detail["loc"][0]).lower().removeprefix("makerflow_")
    example = (Settings.model_fields[field].examples or [""])[0]
    name = f"MAKERFLOW_{field.upper()}"
    given = next((variable for variable in (name, name.removeprefix("MAKERFLOW_")) if ENVIRONMENT.get(variable)), name)
    why = detail["msg"].removeprefix("Value error, ")
    value = "..." if Settings.model_fields[field].annotation is SecretStr else ENVIRONMENT.get(given, "")
    shown = re.sub(r"//[^/@]*@", "//...@", f"{given}={value}")  # a URL may hold a password
    return InvalidInputError(shown[:200], why, f"Set it as in {given}={example}, or unset it.")
