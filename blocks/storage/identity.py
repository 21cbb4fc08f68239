"""Whose rights are used on an object store: what an administrator needs to know to grant them (COM-09)."""

from urllib.parse import urlsplit

from blocks.domain.errors import AccessDeniedError
from blocks.domain.paths import Scheme, StoragePath
from blocks.storage.connection import Connection
from blocks.storage.patience import Patience
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_control import S3Control

_PATIENCE = Patience(connect_seconds=5, answer_seconds=15, attempts=2)

_REFUSED = ("key", "secret", "token", "credentials")
"""What the reason names when the credentials themselves are refused, rather than the listing of buckets."""


def account_identity(connection: Connection | None) -> dict[str, str]:
    """Facts about the account: `endpoint`, `access_key_id`, and what the store says of it: `account`, `name`.

    Stores differ in what they tell an account of itself; what is not said is left out.

    Raises:
        AccessDeniedError: There are no credentials, or the store refuses them.
        StorageUnavailableError: The store does not answer.
    """
    nowhere = StoragePath(Scheme.S3, "", "", "")
    clients = S3Clients(nowhere, connection, _PATIENCE)
    credentials = clients.session.get_credentials()
    facts = {"endpoint": clients.endpoint_url}
    if credentials is None:
        raise AccessDeniedError(urlsplit(clients.endpoint_url).netloc, "", "sign in", "no credentials were found")
    facts["access_key_id"] = credentials.get_frozen_credentials().access_key
    try:
        owner = S3Control(clients, _PATIENCE).owner(nowhere)
    except AccessDeniedError as error:
        if any(word in error.reason for word in _REFUSED):
            raise
        return facts  # it may not list its buckets, and needs not
    said = (("account", "ID"), ("name", "DisplayName"))
    return facts | {ours: str(owner[theirs]) for ours, theirs in said if theirs in owner}
