"""What the S3 clients' errors mean: their exceptions stop here.

Each function returns the error to raise: one of `blocks.domain.errors`, or an `AttemptError` when another attempt may
help.
"""

import re
from typing import Any

from blocks.domain.errors import (
    AccessDeniedError,
    CredentialsRefusedError,
    InputMissingError,
    MakerflowError,
    PermanentError,
    UnknownStoreError,
)
from blocks.domain.paths import StoragePath
from blocks.storage.patience import AttemptError

READ_OBJECT = "read (s3:GetObject)"
READ_LIST = "read (s3:ListBucket)"
WRITE_OBJECT = "write (s3:PutObject)"
DELETE_OBJECT = "delete (s3:DeleteObject)"

_CORRECT = (
    "Correct the access key and its secret: `makerflow connection set ...`, "
    "or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; then try again."
)
_RENEW = "Get a new session token: `makerflow connection set ...`, or AWS_SESSION_TOKEN; then try again."

_CREDENTIALS = {
    "InvalidAccessKeyId": ("the store does not know the access key", _CORRECT),
    "XAdminUserNotFound": ("the store does not know the access key", _CORRECT),  # as versitygw says it
    "SignatureDoesNotMatch": ("the secret does not belong to the access key", _CORRECT),
    "ExpiredToken": ("the session token has expired", _RENEW),
    "ExpiredTokenException": ("the session token has expired", _RENEW),
    "TokenRefreshRequired": ("the session token has expired", _RENEW),
    "InvalidToken": ("the session token is not valid", _RENEW),
    "RequestTimeTooSkewed": ("this machine's clock differs too much from the store's", "Set it, then try again."),
    "AccountProblem": ("the account is suspended", "Let the store's operator reinstate it, or use another account."),
}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_LATER = {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"}

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_ENDPOINT = re.compile(r"(https?://[^/\s]+)")
_CERTIFICATE = re.compile(r"InvalidCertificate\((?:\s*Other(?:Error)?\()*\s*(\w+)")
_NO_TLS = re.compile(r"InvalidMessage\(\s*InvalidContentType|WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE")
"""What rustls and OpenSSL make of an answer in plain http."""


def control_error(error: Exception, path: StoragePath, right: str, endpoint: str) -> MakerflowError | AttemptError:
    """What an exception of boto3 means for a request on `path` that needed `right`."""
    from botocore import exceptions as botocore

    if isinstance(error, botocore.ClientError):
        return _answered(error, path, right)
    if isinstance(
        error, botocore.NoCredentialsError | botocore.PartialCredentialsError | botocore.CredentialRetrievalError
    ):
        return no_credentials(path, right, str(error))
    if isinstance(error, botocore.SSLError):
        return _plain(path, endpoint) if _NO_TLS.search(str(error)) else untrusted(path, endpoint, str(error))
    if isinstance(error, botocore.HTTPClientError | botocore.ConnectionError | botocore.EndpointConnectionError):
        return AttemptError(f"{endpoint} does not answer: {error}")
    if isinstance(error, botocore.EndpointProviderError):
        return wrong_endpoint(path, str(error))
    if isinstance(error, botocore.BotoCoreError):
        return UnknownStoreError(str(path), str(error), "Correct the connection or the AWS configuration.")
    raise error


def bulk_error(error: Exception, path: str, bucket: str, right: str) -> MakerflowError | AttemptError:
    """What an exception of obstore means."""
    text = str(error)
    status, code = _first(_STATUS, text), _first(_CODE, text)
    reason = text.partition("\n\nDebug source")[0]
    if isinstance(error, FileNotFoundError):
        is_bucket = code == "NoSuchBucket" or right == WRITE_OBJECT  # to write, nothing else has to be there
        return missing_bucket(path, bucket, right) if is_bucket else InputMissingError(path, "it is gone")
    if code in _CREDENTIALS:
        return CredentialsRefusedError(bucket, path, right, *_CREDENTIALS[code])
    if status in ("401", "403"):
        return AccessDeniedError(bucket, path, right, code)
    if refused := tls_error(error, path):
        return refused
    if status.startswith("4") and status not in ("408", "409", "425", "429") and code not in _LATER:
        return UnknownStoreError(path, f"the store refused the request: {reason}", "Correct the connection.")
    return AttemptError(reason)


def tls_error(error: Exception, path: str) -> UnknownStoreError | None:
    """The error to raise when an exception of obstore says that no connection with TLS can be had; else None."""
    text = str(error)
    endpoint = _first(_ENDPOINT, text)
    if _NO_TLS.search(text):
        return _plain(path, endpoint)
    why = _first(_CERTIFICATE, text)
    if why == "CaUsedAsEndEntity":
        return UnknownStoreError(
            path,
            f"the TLS certificate of {endpoint} is that of an authority (CA:TRUE), which no server may show",
            "Give the server a certificate of its own (CA:FALSE), signed by the authority that the connection names.",
        )
    return untrusted(path, endpoint, why) if why else None


def asks_to_wait(error: AttemptError) -> bool:
    """Whether the store itself said that it has too much to do."""
    return _first(_STATUS, error.reason) in ("429", "503")


def untrusted(path: StoragePath | str, endpoint: str, why: str) -> UnknownStoreError:
    """The error of a certificate that does not check."""
    return UnknownStoreError(
        str(path),
        f"the TLS certificate of {endpoint} is not trusted ({why})",
        "Give its authority's certificate: `makerflow connection set ... --ca-certificate FILE`, or AWS_CA_BUNDLE.",
    )


def _plain(path: StoragePath | str, endpoint: str) -> UnknownStoreError:
    return UnknownStoreError(
        str(path),
        f"{endpoint} speaks http, not https",
        "Begin its endpoint with http://: `makerflow connection set http://HOST:PORT ...`, or AWS_ENDPOINT_URL.",
    )


def wrong_region(path: StoragePath, why: str) -> UnknownStoreError:
    """The error of a region that is none."""
    return UnknownStoreError(str(path), why.rstrip("."), "Correct AWS_DEFAULT_REGION, or the connection's region.")


def wrong_endpoint(path: StoragePath, why: str) -> UnknownStoreError:
    """The error of an endpoint that is no URL."""
    return UnknownStoreError(
        str(path),
        why.rstrip("."),
        "Set AWS_ENDPOINT_URL (or AWS_ENDPOINT_URL_S3, or endpoint_url of the AWS configuration) as in "
        "AWS_ENDPOINT_URL=https://objects.example.com, or unset it.",
    )


def no_credentials(path: StoragePath, right: str, why: str = "") -> CredentialsRefusedError:
    """The error of having no access key for a store."""
    reason = f"no usable credentials were found ({why})" if why else "no credentials were found"
    return CredentialsRefusedError(path.bucket, str(path), right, reason, _CORRECT)


def missing_bucket(path: str, bucket: str, right: str) -> PermanentError:
    """The error of a bucket that does not exist."""
    if right in (READ_OBJECT, READ_LIST):
        return InputMissingError(path, f"the bucket {bucket} does not exist")
    return UnknownStoreError(path, f"the bucket {bucket} does not exist", "Create it, or correct the path.")


def _answered(error: Any, path: StoragePath, right: str) -> MakerflowError | AttemptError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = str(error.response.get("Error", {}).get("Message", ""))
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return missing_bucket(str(path), path.bucket, right)
    if code in ("NoSuchKey", "NoSuchUpload", "404"):
        return InputMissingError(str(path))
    if code in _CREDENTIALS:
        return CredentialsRefusedError(path.bucket, str(path), right, *_CREDENTIALS[code])
    if status in (401, 403):
        why = message if code in ("", "403") or not message else f"{code}: {message}"
        return AccessDeniedError(path.bucket, str(path), right, why)
    if code in _ELSEWHERE or status in (301, 307):
        return UnknownStoreError(str(path), f"the bucket is in another region ({message})", "Correct the region.")
    if status >= 500 or status in (408, 425, 429) or code in _LATER:
        return AttemptError(f"it answered {status} {code}: {message}", _retry_after(metadata.get("HTTPHeaders", {})))
    return UnknownStoreError(str(path), f"the store refused the request: {code} {message}", "Correct the connection.")


def _retry_after(headers: dict[str, str]) -> float:
    """Seconds; the other form of the header, a date, is not worth trusting the two clocks for."""
    try:
        return max(0.0, float(headers.get("retry-after", "0")))
    except ValueError:
        return 0.0


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
