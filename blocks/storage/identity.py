"""Whose rights are used on an object store: what an administrator needs to know to grant them (COM-09)."""

from dataclasses import replace
from urllib.parse import urlsplit

from blocks.domain.errors import AccessDeniedError, CredentialsRefusedError
from blocks.domain.paths import Scheme, StoragePath
from blocks.storage.connection import Connection
from blocks.storage.patience import Patience
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_control import S3Control
from blocks.storage.s3_errors import no_credentials

_PATIENCE = Patience(connect_seconds=5, answer_seconds=15, attempts=2)


def account_identity(connection: Connection | None) -> dict[str, str]:
    """Facts about the account: `endpoint`, `access_key_id`, and what the store says of it: `account`, `name`.

    Stores differ in what they tell an account of itself; what is not said is left out.

    Raises:
        CredentialsRefusedError: There are no credentials, or the store refuses them.
        StorageUnavailableError: The store does not answer.
    """
    nowhere = StoragePath(Scheme.S3, "", "", "")
    clients = S3Clients(nowhere, connection, _PATIENCE)
    credentials = clients.credentials
    facts = {"endpoint": clients.endpoint_url}
    if credentials is None:
        raise no_credentials(replace(nowhere, authority=urlsplit(clients.endpoint_url).netloc), "sign in")
    facts["access_key_id"] = credentials.get_frozen_credentials().access_key
    try:
        owner = S3Control(clients, _PATIENCE).owner(nowhere)
    except CredentialsRefusedError:
        raise
    except AccessDeniedError:
        return facts  # it may not list its buckets, and needs not
    said = (("account", "ID"), ("name", "DisplayName"))
    return facts | {ours: str(owner[theirs]) for ours, theirs in said if theirs in owner}
