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
        cache_directory: Holds `objects`, `environments` and the installer's own cache.
        cache_bytes: The limit of `objects`.
        region: EM_REGION.
        app_key: EM_APPKEY.
    """

    home: Path
    cache_directory: Path
    cache_bytes: int = DEFAULT_CACHE_BYTES
    region: str = ""
    app_key: str = ""

    @classmethod
    def load(cls, layout: RunLayout) -> "AgentSettings":
        """What `launch` left; keys that this version does not know are for others."""
        document = read_json(layout.settings) or {}
        known = {field.name: document[field.name] for field in fields(cls) if field.name in document}
        known["home"] = Path(known.get("home", layout.home))
        known["cache_directory"] = Path(known.get("cache_directory", layout.home / "cache"))
        return cls(**known)
