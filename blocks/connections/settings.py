"""What this process needs before anything else can be reached: read at the edge, from `MAKERFLOW_*` variables."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ENVIRONMENT = os.environ
"""The one place where the product touches the process's environment, save for what the launcher starts."""


class Settings(BaseSettings):
    """The process's settings.

    Attributes:
        home: Where all state of this machine lives.
        registry_url: The registry's database; empty for SQLite below `home`. It may hold a password.
        prefect_api_url: A Prefect server's API, e.g. `http://127.0.0.1:4200/api`; empty for none.
        cpus: vCPUs that trainings may use in all; 0 for all of the machine's.
        memory_mib: Memory that trainings may use in all; 0 for all of the machine's.
        cache_gb: Bound of the cache of staged objects.
        nas: NAS ID to the directory where it is mounted, as JSON: `{"nas1": "/mnt/nas1"}`.
        region: What entry points find in EM_REGION.
        app_key: What entry points find in EM_APPKEY.
        catalogue: A YAML file of further images and flavors; `catalogue.yaml` below `home` when it exists.
    """

    model_config = SettingsConfigDict(env_prefix="MAKERFLOW_", frozen=True, extra="ignore")

    home: Path = Path("~/.makerflow")
    registry_url: SecretStr = SecretStr("")
    prefect_api_url: str = Field(
        default="", validation_alias=AliasChoices("MAKERFLOW_PREFECT_API_URL", "PREFECT_API_URL")
    )
    cpus: float = Field(default=0, ge=0)
    memory_mib: int = Field(default=0, ge=0)
    cache_gb: float = Field(default=50, gt=0)
    nas: dict[str, Path] = Field(default_factory=dict)
    region: str = "local"
    app_key: str = "makerflow"
    catalogue: Path = Path("catalogue.yaml")

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def database_url(self) -> str:
        """The registry's SQLAlchemy URL."""
        return self.registry_url.get_secret_value() or f"sqlite:///{self.home / 'registry.db'}"

    @property
    def catalogue_file(self) -> Path:
        """The user's additions to the catalogue; it need not exist."""
        return self.home / self.catalogue.expanduser()

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


def make_home(settings: Settings) -> Path:
    """Make the home, for its owner alone: it comes to hold the keys of stores."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return settings.home


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Prefect's settings, client's and server's: a private home, nothing phoned home, no ephemeral server."""
    return {
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{settings.prefect_database}",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "DO_NOT_TRACK": "1",
    }


def prepare_prefect(environment: Mapping[str, str] | None = None) -> None:
    """Give Prefect its settings before it is imported; what the user has set in the environment stays."""
    for name, value in (environment or prefect_environment(Settings())).items():
        ENVIRONMENT.setdefault(name, value)
