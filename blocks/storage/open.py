"""From a path and a connection to the storage that serves it."""

from pathlib import Path

from blocks.domain.errors import UnknownStoreError
from blocks.domain.paths import Scheme, StoragePath
from blocks.storage.base import Storage
from blocks.storage.connection import Connection
from blocks.storage.directory import DirectoryStorage
from blocks.storage.patience import Patience


def open_storage(path: StoragePath, connection: Connection | None = None, patience: Patience | None = None) -> Storage:
    """The storage of `path`. It calls nobody yet, so a wrong key shows at the first use, best by `check`.

    Args:
        path: Any path in the store.
        connection: None for `s3://` means the usual AWS environment and files; `file://` needs none.
        patience: Other limits than the usual ones.

    Raises:
        UnknownStoreError: A NAS without a mounted directory.
    """
    match path.scheme:
        case Scheme.FILE:
            return DirectoryStorage(StoragePath(Scheme.FILE, "", "", ""), Path("/"))
        case Scheme.NAS:
            return DirectoryStorage(StoragePath(Scheme.NAS, path.authority, "", ""), _mount(path, connection))
        case Scheme.OBS | Scheme.S3:
            from blocks.storage.object_store import ObjectStorage  # only those who have one pay for its clients

            return ObjectStorage(path, connection, patience or Patience())


def _mount(path: StoragePath, connection: Connection | None) -> Path:
    if connection is None or not connection.directory:
        raise UnknownStoreError(
            str(path), "this installation does not know this NAS", "Mount it and name its directory in MAKERFLOW_NAS."
        )
    mount = Path(connection.directory)
    if not mount.is_dir():
        raise UnknownStoreError(str(path), f"{mount} is no directory", "Mount the NAS there, then try again.")
    return mount
