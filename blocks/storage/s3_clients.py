"""The two clients of an object store, made from one set of settings so that they cannot drift apart.

boto3 is the control plane: listing, head, access checks, multipart uploads, errors with codes. obstore moves the bulk
of the bytes. Credentials, endpoint, region and certificate authority are found by botocore, from the connection or from
the usual AWS environment and files, and handed to obstore.
"""

import os
import threading
import weakref
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from blocks.domain.errors import UnknownStoreError
from blocks.domain.paths import Scheme, StoragePath
from blocks.storage.authorities import read_authority
from blocks.storage.connection import Connection
from blocks.storage.patience import Patience
from blocks.storage.s3_errors import no_credentials, wrong_endpoint, wrong_region

if TYPE_CHECKING:
    from obstore.store import S3Store

_DEFAULT_REGION = "us-east-1"


class S3Clients:
    """Opens each client at its first use. Safe to use from several threads."""

    def __init__(self, path: StoragePath, connection: Connection | None, patience: Patience) -> None:
        self._path, self._connection, self._patience = path, connection or Connection(), patience
        self._bulk: dict[tuple[str, float], S3Store] = {}
        self._lock = threading.Lock()

    @cached_property
    def endpoint_url(self) -> str:
        """Where the store is. boto3 is asked only when neither the path nor the connection says it."""
        if self._connection.endpoint_url:
            return self._connection.endpoint_url.rstrip("/")
        if self._path.scheme is Scheme.OBS:
            return f"https://{self._path.authority}"
        return str(self.control.meta.endpoint_url)

    @property
    def control(self) -> Any:
        """The control plane's client."""
        with self._lock:
            return self._control

    def bulk(self, bucket: str, seconds: float) -> "S3Store":
        """The client for the bytes of one bucket; a request may take so many seconds as a whole."""
        with self._lock:
            if (bucket, seconds) not in self._bulk:
                self._bulk[bucket, seconds] = self._open_bulk(bucket, seconds)
            return self._bulk[bucket, seconds]

    @property
    def has_own_authority(self) -> bool:
        """Whether another certificate authority was given than the system's own."""
        return bool(self._authority)

    @cached_property
    def session(self) -> Any:
        """The boto3 session that finds the credentials."""
        import boto3
        from botocore.exceptions import BotoCoreError

        given = self._connection
        try:
            session = boto3.Session(
                botocore_session=self._core,
                aws_access_key_id=given.access_key_id or None,
                aws_secret_access_key=given.secret_access_key or None,
                aws_session_token=given.session_token or None,
                region_name=given.region or None,
            )
            session.region_name  # noqa: B018 - reads the profile, which may not exist
        except BotoCoreError as error:
            raise UnknownStoreError(str(self._path), str(error), "Correct the AWS configuration.") from error
        return session

    @property
    def credentials(self) -> Any:
        """What boto3 has found; None for none.

        Raises:
            CredentialsRefusedError: What there is cannot be used, such as a key without its secret.
            UnknownStoreError: There is no such profile.
        """
        from botocore.exceptions import BotoCoreError, ProfileNotFound

        try:
            return self.session.get_credentials()
        except ProfileNotFound as error:
            raise UnknownStoreError(str(self._path), str(error), "Correct the AWS configuration.") from error
        except BotoCoreError as error:
            raise no_credentials(self._path, "sign in", str(error)) from error

    @cached_property
    def _core(self) -> Any:
        import botocore.session

        core = botocore.session.get_session()
        core.register_component("data_loader", _models())
        # Listings are long, and half of the time to read one went into its dates.
        core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_read_time)
        return core

    @cached_property
    def _control(self) -> Any:
        from botocore.config import Config
        from botocore.exceptions import InvalidRegionError

        patience = self._patience
        style: dict[str, Any] = {"addressing_style": "path" if self._connection.path_style else "virtual"}
        config = Config(
            connect_timeout=patience.connect_seconds,
            read_timeout=patience.answer_seconds,
            retries={"total_max_attempts": 1},  # `retrying` does it, and heeds Retry-After
            max_pool_connections=patience.requests,
            # Many S3-compatible stores refuse the checksums that AWS now adds on its own.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3=None if self._uses_environment else style,  # type: ignore[arg-type] # the stubs' type is private
        )
        session = self.session
        self._authority  # noqa: B018 - botocore would call a missing file a certificate that is not trusted
        self.credentials  # noqa: B018 - the client asks for them, too
        try:
            return session.client(
                "s3",
                endpoint_url=None if self._uses_environment else self.endpoint_url,
                region_name=session.region_name or _DEFAULT_REGION,
                verify=self._authority_file or None,
                config=config,
            )
        except InvalidRegionError as error:
            raise wrong_region(self._path, str(error)) from error
        except ValueError as error:
            raise wrong_endpoint(self._path, str(error)) from error

    @property
    def _uses_environment(self) -> bool:
        return not self._connection.endpoint_url and self._path.scheme is Scheme.S3

    @cached_property
    def _authority_file(self) -> str:
        """Botocore wants a file: one in memory, for as long as this object lives, so that no end of ours leaves it."""
        if not self._connection.ca_certificate:
            return ""
        descriptor = os.memfd_create("makerflow-ca")
        weakref.finalize(self, os.close, descriptor)
        with open(descriptor, "w", closefd=False) as file:
            file.write(self._connection.ca_certificate)
        return f"/proc/self/fd/{descriptor}"

    @cached_property
    def _authority(self) -> str:
        """The PEM text of the certificate authority, empty for the system's own."""
        bundle = self._core.get_config_variable("ca_bundle")
        if self._connection.ca_certificate or not bundle:
            return self._connection.ca_certificate
        try:
            return read_authority(bundle)
        except ValueError as error:
            raise UnknownStoreError(
                str(self._path),
                f"the file {bundle}, which AWS_CA_BUNDLE (or ca_bundle of the AWS configuration) names: {error}",
                "Name a PEM file of the authority's certificates, or unset it.",
            ) from error

    @property
    def _address(self) -> tuple[str, str, bool]:
        """Endpoint, region, and whether a bucket is part of the host's name; boto3 is asked for what was not given."""
        if not self._uses_environment:  # its client takes a tenth of a second to make
            region = self.session.region_name or _DEFAULT_REGION
            return self.endpoint_url, region, not self._connection.path_style
        meta = self._control.meta
        style = (getattr(meta.config, "s3", None) or {}).get("addressing_style")
        return str(meta.endpoint_url), meta.region_name, style == "virtual"

    def _open_bulk(self, bucket: str, seconds: float) -> "S3Store":
        from obstore.auth.boto3 import Boto3CredentialProvider
        from obstore.store import S3Store

        if self.credentials is None:
            raise no_credentials(replace(self._path, bucket=bucket, key=""), "read or write")
        patience = self._patience
        endpoint, region, virtual = self._address
        authority = self._authority
        return S3Store(
            bucket,
            endpoint=endpoint.replace("://", f"://{bucket}.", 1) if virtual else endpoint,
            virtual_hosted_style_request=virtual,
            region=region,
            credential_provider=Boto3CredentialProvider(self.session),
            client_options={
                "allow_http": True,
                "connect_timeout": timedelta(seconds=patience.connect_seconds),
                "timeout": timedelta(seconds=seconds),
                **({"root_certificate": authority} if authority else {}),
            },
            retry_config={"max_retries": 0},  # `retrying` does it, and heeds Retry-After
        )


@cache
def _models() -> Any:
    """The descriptions of AWS's services, which take longer to read than all else a client needs."""
    from botocore.loaders import create_loader

    return create_loader()


def _read_time(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(value)  # type: ignore[no-any-return, unused-ignore] # the stubs differ in versions
