"""Requests of the control plane, each with patience and with its errors translated."""

from collections.abc import Iterator, Mapping
from typing import Any

from tenacity import Retrying

from blocks.domain.errors import AccessDeniedError, CredentialsRefusedError, InputMissingError, PermanentError
from blocks.domain.paths import StoragePath
from blocks.storage.patience import AttemptError, Patience, retrying
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_errors import READ_LIST, READ_OBJECT, control_error

Answer = Mapping[str, Any]


class S3Control:
    """What boto3 does for us. Paths are those of one endpoint, in any bucket."""

    def __init__(self, clients: S3Clients, patience: Patience) -> None:
        self._clients, self._patience = clients, patience

    def call(self, operation: str, path: StoragePath, right: str, **parameters: object) -> Answer:
        """One request in the bucket of `path`, tried again while it may help.

        Raises:
            MakerflowError: What `control_error` makes of a failure.
        """
        patiently = Retrying(**retrying(self._patience, str(path)))  # type: ignore[arg-type] # untyped arguments
        return patiently(self.once, operation, path, right, Bucket=path.bucket, **parameters)

    def head(self, path: StoragePath) -> Answer | None:
        """The object at exactly `path`; None when there is none."""
        try:
            return self.call("head_object", path, READ_OBJECT, Key=path.key)
        except InputMissingError:
            return None
        except AccessDeniedError:
            self._find_refused_credentials(path)
            raise

    def retry_after(self, path: StoragePath) -> float:
        """Seconds that the store wants us to stay away, asked once; 0 when it has no wish."""
        try:
            self.once("head_object", path, READ_OBJECT, Bucket=path.bucket, Key=path.key)
        except AttemptError as error:
            return error.retry_after
        except PermanentError:
            pass  # the request that comes next finds it too, and reports it
        return 0

    def owner(self, path: StoragePath) -> Answer:
        """What the store says of the account: `ID` and perhaps `DisplayName`."""
        patiently = Retrying(**retrying(self._patience, str(path)))  # type: ignore[arg-type] # untyped arguments
        answer: Answer = patiently(self.once, "list_buckets", path, READ_LIST)
        return dict(answer.get("Owner", {}))

    def objects(self, path: StoragePath, prefix: str, right: str = READ_LIST) -> Iterator[Answer]:
        """All objects whose key begins with `prefix`, in the order of their keys; `right` is what they are for."""
        for page in self.pages(path, prefix, right):
            yield from page.get("Contents", ())

    def pages(self, path: StoragePath, prefix: str, right: str = READ_LIST, **parameters: object) -> Iterator[Answer]:
        """The pages of a listing."""
        token: dict[str, object] = {}
        while True:
            page = self.call("list_objects_v2", path, right, Prefix=prefix, **parameters, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _find_refused_credentials(self, path: StoragePath) -> None:
        """Raise CredentialsRefusedError if they are: the answer to a HEAD has no body that tells it from a denial."""
        try:
            self.once("get_object", path, READ_OBJECT, Bucket=path.bucket, Key=path.key)["Body"].close()
        except CredentialsRefusedError:
            raise
        except (AttemptError, PermanentError):
            return

    def once(self, operation: str, path: StoragePath, right: str, **parameters: object) -> Answer:
        """One attempt at a request.

        Raises:
            AttemptError: It failed in a way that another attempt may not.
            MakerflowError: It failed for good.
        """
        client = self._clients.control
        try:
            answer: Answer = getattr(client, operation)(**parameters)
        except Exception as error:
            raise control_error(error, path, right, self._clients.endpoint_url) from error
        return answer


def is_encrypted(head: Answer) -> bool:
    """Whether the store encrypted the object with a key other than its own, so that its ETag is no MD5."""
    return "SSECustomerAlgorithm" in head or str(head.get("ServerSideEncryption", "")).startswith("aws:kms")


def etag_of(answer: Answer) -> str:
    """The ETag without quotes."""
    return clean_etag(str(answer.get("ETag", "")))


def clean_etag(etag: str | None) -> str:
    """An ETag without quotes and without the mark of a weak one."""
    return (etag or "").removeprefix("W/").strip('"')
