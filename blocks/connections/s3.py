"""Connections to object stores.

A Prefect Block keeps the secrets (encrypted in Prefect's database), the registry's index keeps the names, so that only
a command that needs a secret has to ask Prefect.
"""

import hashlib
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
from prefect.blocks.core import Block
from prefect.events.clients import NullEventsClient
from prefect.settings import PREFECT_API_AUTH_STRING
from pydantic import Field, SecretStr

from blocks.connections.client import sending_events_by, using
from blocks.connections.platform import AWS, open_platform
from blocks.connections.server import configured_api, is_healthy, prefect_server
from blocks.connections.settings import Settings, read_settings
from blocks.domain.errors import InvalidInputError, NotFoundError, WorkflowServerUnavailableError
from blocks.domain.paths import Scheme, StoragePath
from blocks.registry.records import ConnectionEntry
from blocks.storage.authorities import read_authority
from blocks.storage.connection import Connection
from blocks.storage.identity import account_identity

RESERVED = frozenset({AWS, "nas", ""})
MAX_PORT = 65535

_ENDPOINT = re.compile(r"(?P<scheme>https?://)?(?P<host>[A-Za-z0-9.-]+(:(?P<port>[0-9]{1,5}))?)/?", re.ASCII)


class ObjectStore(Block):
    """An S3-compatible object store: where it is and who we are there."""

    _block_type_name = "Makerflow object store"
    _block_type_slug = "makerflow-object-store"

    endpoint_url: str = Field(description="For example https://objects.example.com.")
    access_key_id: str = Field(description="The account's access key id.")
    secret_access_key: SecretStr = Field(description="The account's secret.")
    session_token: SecretStr = Field(default=SecretStr(""), description="For temporary credentials.")
    region: str = Field(default="", description="Where the store asks for one.")
    ca_certificate: str = Field(default="", description="PEM of the authority that signed the store's certificate.")
    path_style: bool = Field(default=True, description="https://endpoint/bucket/key, not https://bucket.endpoint/key.")

    def connection(self) -> Connection:
        """What the storage adapters take."""
        return Connection(
            endpoint_url=self.endpoint_url,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key.get_secret_value(),
            session_token=self.session_token.get_secret_value(),
            region=self.region,
            ca_certificate=self.ca_certificate,
            path_style=self.path_style,
        )


def set_connection(
    endpoint: str,
    *,
    name: str = "",
    access_key_id: str,
    secret_access_key: str,
    session_token: str = "",
    region: str = "",
    ca_certificate_file: str = "",
    path_style: bool = True,
) -> ConnectionEntry:
    """Make or replace the connection to an endpoint.

    Args:
        endpoint: `host`, `host:port` or a URL; https unless the URL says http. obs:// paths name it by host and port.
        name: What it is called; made from the endpoint when empty. `s3` serves every s3:// path.
        access_key_id: The account.
        secret_access_key: Its secret; kept by Prefect only.
        session_token: For temporary credentials.
        region: Where the store asks for one.
        ca_certificate_file: PEM file of a private certificate authority.
        path_style: Bucket in the path, as most stores but AWS want it.

    Raises:
        InvalidInputError: The endpoint is no host or has a connection of another name, the name is reserved, or the
            certificate cannot be used.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if not match:
        raise InvalidInputError(f"The endpoint {endpoint!r}", "it is no host", "Give host, host:port or a URL.")
    if match["port"] and not 0 < int(match["port"]) <= MAX_PORT:
        raise InvalidInputError(f"The endpoint {endpoint!r}", "there is no such port", f"Ports are 1 to {MAX_PORT}.")
    host = match["host"]
    slug = _name_of(name, host)
    _check_is_only_one(slug, host)
    block = ObjectStore(
        endpoint_url=f"{match['scheme'] or 'https://'}{host}",
        access_key_id=access_key_id,
        secret_access_key=SecretStr(secret_access_key),
        session_token=SecretStr(session_token),
        region=region,
        ca_certificate=_read_certificate(ca_certificate_file),
        path_style=path_style,
    )
    with _prefect(read_settings()):
        block.save(slug, overwrite=True)
    open_platform().forget(slug)
    return open_platform().registry.connections.put(slug, host)


def _name_of(name: str, host: str) -> str:
    """The connection's name as Prefect takes it; one made from an endpoint is never another endpoint's.

    Raises:
        InvalidInputError: The name means something else in a plan.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", (name or host).lower()).strip("-")
    if slug in RESERVED:
        raise InvalidInputError(f"The name {slug!r}", "the platform uses it itself", "Choose another one.")
    taken = {entry.name: entry.endpoint for entry in open_platform().registry.connections.list()}
    if name or taken.get(slug, host) == host:
        return slug
    return f"{slug}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"


def _check_is_only_one(name: str, host: str) -> None:
    """Refuse a second connection to an endpoint: paths name the endpoint, and could mean either.

    Raises:
        InvalidInputError: There is one of another name.
    """
    first = open_platform().registry.connections.find(host)
    if first and first.name != name:
        raise InvalidInputError(
            f"The connection {name!r}",
            f"the connection {first.name!r} opens {host} already, and an endpoint has one",
            f"Change that one: `makerflow connection set {host} --name {first.name} ...`; "
            f"or delete it first: `makerflow connection delete {first.name}`.",
        )


def load_connection(settings: Settings, name: str) -> Connection:
    """The connection of that name, with its secrets.

    Raises:
        NotFoundError: There is none.
    """
    with _prefect(settings):
        try:
            block = ObjectStore.load(name)
        except ValueError as error:
            raise NotFoundError("connection", name) from error
    return block.connection()  # type: ignore[union-attr, no-any-return, unused-ignore] # Prefect's load may be async


def list_connections() -> list[ConnectionEntry]:
    """The connections of this installation, without their secrets."""
    return list(open_platform().registry.connections.list())


def delete_connection(name: str) -> None:
    """Delete a connection and its secrets.

    Raises:
        NotFoundError: There is none.
    """
    connections = open_platform().registry.connections
    connections.get(name)
    with _prefect(read_settings()), suppress(ValueError):  # a deletion that died half-way: only the index is left
        ObjectStore.delete(name)
    connections.delete(name)
    open_platform().forget(name)


def test_connection(name_or_path: str) -> dict[str, str]:
    """Whether a connection works, and whose rights are used (COM-09).

    Args:
        name_or_path: A connection's name, or a path that it should open.

    Returns:
        Facts: connection, endpoint, account ids, and for a path whether it can be read.

    Raises:
        MakerflowError: Why it does not work.
    """
    platform = open_platform()
    if "://" not in name_or_path:
        return account_identity(platform.connection(platform.registry.connections.get(name_or_path).name))
    path = StoragePath.parse(name_or_path)
    name = platform.connection_name(path)
    facts = {"connection": name or path.scheme.value}
    if path.scheme in (Scheme.S3, Scheme.OBS):
        facts |= account_identity(platform.connection(name) if name != AWS else None)
    platform.storage(path).plan(path)
    return facts | {"path": str(path), "read": "yes"}


@contextmanager
def _prefect(settings: Settings) -> Iterator[None]:
    """Prefect's API for the block: the configured one, or that of a server of our own that nobody else can use.

    Raises:
        WorkflowServerUnavailableError: It does not answer.
    """
    configured = configured_api(settings)
    try:
        if configured and (settings.prefect_api_url or is_healthy(configured)):
            with using(configured):
                yield
            return
        with _private_server(settings):
            yield
    except httpx.HTTPError as error:
        raise WorkflowServerUnavailableError(configured or "of our own", str(error)) from error


@contextmanager
def _private_server(settings: Settings) -> Iterator[None]:
    account = f"makerflow:{secrets.token_urlsafe(32)}"
    with (
        prefect_server(settings, account=account) as api,
        using(api, {PREFECT_API_AUTH_STRING: account}),
        sending_events_by(NullEventsClient),  # nobody is there to hear them when the server has gone
    ):
        yield


def _read_certificate(file: str) -> str:
    if not file:
        return ""
    try:
        text = read_authority(file)
        if "PRIVATE KEY-----" in text:
            raise ValueError("it holds a private key, which is its owner's alone")
    except ValueError as error:
        remedy = "Give a PEM file of the authority's certificates alone."
        raise InvalidInputError(f"The certificate file {file}", str(error), remedy) from error
    return text
