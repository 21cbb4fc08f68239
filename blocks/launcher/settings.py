"""What an agent needs to know of the installation that started it. Standard library only."""

from dataclasses import dataclass, fields
from pathlib import Path

from blocks.cluster.layout import RunLayout, read_json

DEFAULT_CACHE_BYTES = 50 << 30


@dataclass(frozen=True)
class AgentSettings:
    """The content of `agent-settings.json`.

    Attributes:
        home: The product's home.
        cache_directory: The cache of staged objects.
        cache_bytes: Its limit.
        environments_directory: Holds the environments of entry points; the installer's own cache is beside it.
        region: EM_REGION.
        app_key: EM_APPKEY.
    """

    home: Path
    cache_directory: Path
    environments_directory: Path
    cache_bytes: int = DEFAULT_CACHE_BYTES
    region: str = ""
    app_key: str = ""

    @classmethod
    def load(cls, layout: RunLayout) -> "AgentSettings":
        """What `launch` left; keys that this version does not know are for others."""
        document = read_json(layout.settings) or {}
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        cache = layout.home / "cache"
        places = {
            "home": layout.home,
            "cache_directory": cache / "objects",
            "environments_directory": cache / "environments",
        }
        return cls(**known | {name: Path(known.get(name, default)) for name, default in places.items()})
