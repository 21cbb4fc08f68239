"""How one store is reached, with its secrets: what a Block gives to an adapter, and a flow to an agent."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from blocks.domain.errors import InvalidInputError


@dataclass(frozen=True)
class Connection:
    """Where a store is and who we are there. Empty fields are taken from the usual AWS environment and files.

    Attributes:
        endpoint_url: `https://host[:port]`; for `obs://` paths it defaults to https at the path's own endpoint.
        session_token: For temporary credentials.
        ca_certificate: PEM text of the authority that signed the store's certificate.
        path_style: `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`.
        directory: Where a NAS is mounted on this machine.
    """

    endpoint_url: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    region: str = ""
    ca_certificate: str = ""
    path_style: bool = True
    directory: str = ""

    def to_mapping(self) -> dict[str, str]:
        """Strings only, as an agent gets it."""
        return asdict(self) | {"path_style": "yes" if self.path_style else ""}

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str]) -> "Connection":
        """The reverse of `to_mapping`.

        Raises:
            InvalidInputError: A key is none of the fields: another version wrote it.
        """
        unknown = sorted(set(mapping) - set(cls.__dataclass_fields__))
        if unknown:
            raise InvalidInputError(
                "The connection that was handed over", f"it has unknown fields {unknown}", "Use one version everywhere."
            )
        return cls(**{**mapping, "path_style": bool(mapping.get("path_style", "yes"))})  # type: ignore[arg-type] # str
