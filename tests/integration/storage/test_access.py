"""Who may do what, and how a store that cannot be used says why (COM-06)."""

import ssl
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from blocks.domain.errors import (
    AccessDeniedError,
    CredentialsRefusedError,
    InputMissingError,
    InvalidInputError,
    StorageUnavailableError,
    UnknownStoreError,
)
from blocks.domain.paths import StoragePath
from blocks.storage.base import Rights, Storage
from blocks.storage.cache import Cache
from blocks.storage.connection import Connection
from blocks.storage.identity import account_identity
from blocks.storage.open import open_storage
from blocks.storage.s3_clients import S3Clients
from blocks.storage.s3_control import S3Control
from tests.certificates import write_certificates
from tests.contract.storage_contract import PATIENCE, stage_one, tree
from tests.contract.test_storage import connection_to
from tests.doubles.fault_proxy import FaultProxy, Request, fault_proxy, refusal
from tests.servers import S3Server, free_port


@pytest.fixture
def filled(s3_server: S3Server, bucket: str) -> str:
    with s3_server.client() as client:
        client.put_object(Bucket=bucket, Key="data/x", Body=b"x")
    return bucket


@pytest.mark.req("COM-06")
@pytest.mark.parametrize(
    ("rights", "refused", "right"),
    [
        (Rights.READ, lambda request: "list-type" in request.query, "read (s3:ListBucket)"),
        (Rights.READ, lambda request: request.is_get("/data/x"), "read (s3:GetObject)"),
        (Rights.WRITE, lambda request: request.method == "POST", "write (s3:PutObject)"),
    ],
    ids=["list", "read", "write"],
)
def test_a_missing_right_is_named_with_bucket_and_path(
    storage: Storage,
    place: StoragePath,
    proxy: FaultProxy,
    filled: str,
    rights: Rights,
    refused: "type[Request]",
    right: str,
) -> None:
    proxy.fail(refusal(403, "AccessDenied", "Access Denied"), refused, times=100)
    with pytest.raises(AccessDeniedError) as caught:
        storage.check(place, rights)
    assert (caught.value.bucket, caught.value.path, caught.value.right) == (filled, str(place), right)


@pytest.mark.req("COM-06")
def test_a_bucket_policy_that_denies_writing_is_noticed(
    storage: Storage, place: StoragePath, proxy: FaultProxy, filled: str
) -> None:
    proxy.fail(refusal(403, "AccessDenied"), lambda request: request.method == "DELETE", times=100)
    storage.check(place, Rights.WRITE)  # the right to delete is not needed


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("InvalidAccessKeyId", 403, "does not know the access key"),
        ("SignatureDoesNotMatch", 403, "secret does not belong"),
        ("ExpiredToken", 400, "session token has expired"),
        ("RequestTimeTooSkewed", 403, "clock"),
    ],
)
@pytest.mark.parametrize("right", [Rights.READ, Rights.WRITE])
def test_refused_credentials_are_told_from_a_missing_right(
    storage: Storage,
    place: StoragePath,
    proxy: FaultProxy,
    filled: str,
    code: str,
    status: int,
    words: str,
    right: Rights,
) -> None:
    proxy.fail(refusal(status, code), times=100)
    with pytest.raises(AccessDeniedError, match=words):
        storage.check(place, right)


def test_wrong_keys_are_refused_by_a_server_that_checks_signatures(signed_s3_server: S3Server) -> None:
    place = StoragePath.parse(f"s3://{signed_s3_server.make_bucket({'data/x': b'x'})}/data")
    right = connection_to(signed_s3_server)
    open_storage(place, right, PATIENCE).check(place, Rights.READ | Rights.WRITE)
    for wrong in (replace(right, access_key_id="nobody"), replace(right, secret_access_key="wrong")):
        storage = open_storage(place, wrong, PATIENCE)
        uses: list[Callable[[], object]] = [
            partial(storage.check, place, Rights.READ),
            partial(storage.check, place, Rights.WRITE),
            partial(storage.is_empty, place),
            partial(storage.plan, place),
            partial(account_identity, wrong),
        ]
        for use in uses:
            with pytest.raises(CredentialsRefusedError, match=r"access key.*makerflow connection set") as caught:
                use()
            assert "Grant" not in str(caught.value)


def test_a_missing_bucket_is_told_from_a_missing_right(storage: Storage) -> None:
    nowhere = StoragePath.parse("s3://no-such-bucket/x")
    with pytest.raises(InputMissingError, match="the bucket no-such-bucket does not exist"):
        storage.check(nowhere, Rights.READ)
    with pytest.raises(UnknownStoreError, match="the bucket no-such-bucket does not exist"):
        storage.check(nowhere, Rights.WRITE)


def test_a_store_that_is_not_there_is_named_with_its_host(place: StoragePath) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    storage = open_storage(place, Connection(url, "key", "secret", region="r"), PATIENCE)
    with pytest.raises(StorageUnavailableError, match=url):
        storage.check(place, Rights.READ)


def test_without_credentials_it_says_so(place: StoragePath, s3_server: S3Server) -> None:
    storage = open_storage(place, Connection(s3_server.endpoint_url), PATIENCE)
    with pytest.raises(AccessDeniedError, match="credentials"):
        storage.check(place, Rights.READ)


@pytest.mark.req("COM-09")
def test_the_account_can_be_looked_up(s3_server: S3Server) -> None:
    facts = account_identity(connection_to(s3_server))
    assert facts["endpoint"] == s3_server.endpoint_url
    assert facts["access_key_id"] == s3_server.access_key_id
    assert facts["account"]


def test_the_usual_environment_is_enough(
    s3_server: S3Server, filled: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    place = StoragePath.parse(f"s3://{filled}/data")
    stage_one(open_storage(place, None, PATIENCE), place, cache, tmp_path / "run")
    assert tree(tmp_path / "run/datasets/d") == {"x": b"x"}


def test_a_profile_of_the_usual_files_is_enough(
    s3_server: S3Server, filled: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(
        "[profile lab]\nregion = us-east-1\nservices = lab\n"
        f"[services lab]\ns3 =\n  endpoint_url = {s3_server.endpoint_url}\n"
    )
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    place = StoragePath.parse(f"s3://{filled}/data")
    stage_one(open_storage(place, None, PATIENCE), place, cache, tmp_path / "run")
    assert tree(tmp_path / "run/datasets/d") == {"x": b"x"}
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UnknownStoreError, match="nobody"):
        open_storage(place, None, PATIENCE).plan(place)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The certificate of an authority, and a file with a key and its certificate for 127.0.0.1.

    Beside them, `authority.pem` has the authority's own key and certificate, which is for 127.0.0.1 too.
    """
    directory = tmp_path_factory.mktemp("tls")
    write_certificates(directory)
    return directory / "ca.pem", directory / "server.pem"


def test_a_private_authority_is_trusted_when_it_is_given(
    s3_server: S3Server,
    filled: str,
    certificate: tuple[Path, Path],
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate[1])
    with fault_proxy(s3_server.endpoint_url, tls) as proxy:
        place = StoragePath.parse(f"obs://{proxy.address}/{filled}/data")
        given = Connection("", "key", "secret", region="us-east-1", ca_certificate=certificate[0].read_text())
        stage_one(open_storage(place, given, PATIENCE), place, cache, tmp_path / "one")
        assert tree(tmp_path / "one/datasets/d") == {"x": b"x"}

        untrusting = replace(given, ca_certificate="")
        with pytest.raises(UnknownStoreError, match=r"certificate .* is not trusted .*--ca-certificate FILE"):
            open_storage(place, untrusting, PATIENCE).check(place, Rights.READ)

        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        stage_one(
            open_storage(place, untrusting, PATIENCE), place, Cache(tmp_path / "other", 1 << 20), tmp_path / "two"
        )
        assert tree(tmp_path / "two/datasets/d") == {"x": b"x"}


@pytest.mark.parametrize(
    ("file", "why"), [("missing.pem", "No such file"), ("no.pem", "it holds no certificate"), ("", "directory")]
)
def test_a_bundle_that_cannot_be_used_is_named_as_the_problem(
    s3_server: S3Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, why: str
) -> None:
    (tmp_path / "no.pem").write_text("no certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / file))
    place = StoragePath.parse(f"obs://{s3_server.address}/{bucket}/data")
    storage = open_storage(place, Connection("", "key", "secret", region="us-east-1"), PATIENCE)
    with pytest.raises(UnknownStoreError, match=f"the file {tmp_path / file}, which AWS_CA_BUNDLE .*{why}"):
        storage.check(place, Rights.READ)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "AWS_SECRET_ACCESS_KEY",
            "",
            "refuses the credentials.*missing: AWS_SECRET_ACCESS_KEY.*Correct the access key",
        ),
        ("AWS_PROFILE", "nobody", "nobody.*Correct the AWS configuration"),
        ("AWS_DEFAULT_REGION", "bad region", "'bad region'.*Correct AWS_DEFAULT_REGION"),
    ],
)
@pytest.mark.parametrize("looked_up", [True, False])
def test_an_aws_environment_that_cannot_be_used_says_what_to_correct(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str, *, looked_up: bool
) -> None:
    for name, good in {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", variable: value}.items():
        monkeypatch.setenv(name, good)
    place = StoragePath.parse("s3://bucket/data")
    with pytest.raises((CredentialsRefusedError, UnknownStoreError), match=said):
        account_identity(None) if looked_up else open_storage(place, None, PATIENCE).plan(place)


@pytest.mark.parametrize(
    "endpoint", ["bogus", "localhost:9000", "region1.store:9000", "http://localhost:99999", "http://[::1"]
)
def test_an_endpoint_of_the_environment_that_is_no_url_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    place = StoragePath.parse("s3://bucket/data")
    with pytest.raises(UnknownStoreError, match=r"Set AWS_ENDPOINT_URL .* as in AWS_ENDPOINT_URL=https://"):
        open_storage(place, Connection("", "key", "secret"), PATIENCE).plan(place)


@pytest.mark.parametrize("right", [Rights.READ, Rights.WRITE])
def test_a_server_that_shows_the_certificate_of_an_authority_is_refused_before_anything_starts(
    s3_server: S3Server, filled: str, certificate: tuple[Path, Path], cache: Cache, right: Rights
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate[0].with_name("authority.pem"))
    with fault_proxy(s3_server.endpoint_url, tls) as proxy:
        place = StoragePath.parse(f"obs://{proxy.address}/{filled}/data")
        given = Connection("", "key", "secret", region="us-east-1", ca_certificate=certificate[0].read_text())
        storage = open_storage(place, given, PATIENCE)
        remedy = r"CA:TRUE.*certificate of its own \(CA:FALSE\)"
        with pytest.raises(UnknownStoreError, match=remedy):
            storage.check(place, right)
        with pytest.raises(UnknownStoreError, match=remedy):  # and later it is not taken for a passing fault
            list(storage.fetch(storage.plan(place), cache, lambda size: None))


def test_https_to_a_port_that_speaks_http_says_so(s3_server: S3Server, filled: str, cache: Cache) -> None:
    place = StoragePath.parse(f"obs://{s3_server.address}/{filled}/data")
    plain = connection_to(s3_server)
    storage = open_storage(place, replace(plain, endpoint_url=""), PATIENCE)
    with pytest.raises(UnknownStoreError, match=f"https://{s3_server.address} speaks http, not https"):
        storage.check(place, Rights.READ)
    planned = open_storage(place, plain, PATIENCE).plan(place)
    with pytest.raises(UnknownStoreError, match=f"https://{s3_server.address} speaks http, not https"):
        list(storage.fetch(planned, cache, lambda size: None))


def test_keys_that_clash_on_a_disk_are_refused_by_name(
    s3_server: S3Server, storage: Storage, place: StoragePath
) -> None:
    with s3_server.client() as client:
        for key in ("data/u", "data/u/x", "data/v/w"):
            client.put_object(Bucket=place.bucket, Key=key, Body=b"1")
    with pytest.raises(InvalidInputError, match=r"a file and a folder at once: u\."):
        storage.plan(place)
    with pytest.raises(InvalidInputError, match="data/u/x"):
        storage.plan(place / "u")
    assert [planned.key for planned in storage.plan(place / "v")] == ["w"]


@pytest.mark.parametrize(
    "key", ["../escape", "a//b", "a/./b", "/absolute", "back\\slash", "n\x07l", "folder/", "x" * 256]
)
def test_keys_that_cannot_be_staged_are_refused_by_name(
    s3_server: S3Server, storage: Storage, place: StoragePath, key: str
) -> None:
    with s3_server.client() as client:
        client.put_object(Bucket=place.bucket, Key=f"data/{key}", Body=b"1")
        client.put_object(Bucket=place.bucket, Key="data/good", Body=b"1")
    with pytest.raises(InvalidInputError) as caught:
        storage.plan(place)
    assert repr(key) in str(caught.value)


def test_the_markers_of_folders_are_left_out(s3_server: S3Server, storage: Storage, place: StoragePath) -> None:
    with s3_server.client() as client:
        for key in ("data/", "data/a/"):
            client.put_object(Bucket=place.bucket, Key=key, Body=b"")
        with pytest.raises(InputMissingError):
            storage.plan(place)
        assert storage.is_empty(place)
        client.put_object(Bucket=place.bucket, Key="data/a/b", Body=b"1")
    assert [planned.key for planned in storage.plan(place)] == ["a/b"]


def test_a_long_listing_is_read_to_its_end(s3_server: S3Server, place: StoragePath, connection: Connection) -> None:
    with s3_server.client() as client:
        for n in range(5):
            client.put_object(Bucket=place.bucket, Key=f"data/{n}", Body=b"")
    control = S3Control(S3Clients(place, connection, PATIENCE), PATIENCE)
    pages = [[found["Key"] for found in page["Contents"]] for page in control.pages(place, "data/", MaxKeys=2)]
    assert pages == [["data/0", "data/1"], ["data/2", "data/3"], ["data/4"]]


def test_a_nas_without_a_mount_is_unknown(tmp_path: Path) -> None:
    place = StoragePath.parse("nas://lab:/data")
    for connection in (None, Connection(), Connection(directory=str(tmp_path / "missing"))):
        with pytest.raises(UnknownStoreError, match="nas://lab:/data"):
            open_storage(place, connection)


def test_a_symlink_does_not_lead_out_of_a_nas(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/out").symlink_to("/etc")
    place = StoragePath.parse("nas://lab:/out")
    with pytest.raises(InvalidInputError, match="/etc"):
        open_storage(place, Connection(directory=str(tmp_path / "mount"))).plan(place)
