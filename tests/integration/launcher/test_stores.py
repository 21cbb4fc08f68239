"""Runs whose outputs go to an object store."""

import pytest

from blocks.domain.plan import OutputKind, PlannedOutput
from blocks.storage.connection import Connection

SAVES = """
import os, time
for name in ("MODEL", "CHECKPOINT", "TENSORBOARD_LOG"):
    with open(os.environ[f"EM_{name}_DIR"] + "/file", "w") as stream:
        stream.write(name)
print([name for name in os.environ if "SECRET" in name or "AWS" in name])
"""


def outputs(bucket: str) -> tuple[PlannedOutput, ...]:
    return tuple(
        PlannedOutput(kind=kind, path=f"s3://{bucket}/out/{kind}", connection="lab")
        for kind in (OutputKind.MODEL, OutputKind.CHECKPOINT, OutputKind.TENSORBOARD, OutputKind.LOG)
    )


def connection(server) -> dict[str, dict[str, str]]:
    known = Connection(server.endpoint_url, server.access_key_id, server.secret_access_key, region=server.region)
    return {"lab": known.to_mapping()}


@pytest.mark.req("TRN-08", "COM-06")
def test_the_outputs_reach_a_store_with_credentials_that_no_worker_sees(launch, directory, s3_server):
    bucket = s3_server.make_bucket()
    run = launch(SAVES, outputs=outputs(bucket), secrets=connection(s3_server), workers=2)
    assert run.finished()["cause"] == "ok"
    with s3_server.client() as client:
        keys = {found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]}
    own = {"out/model/file", "out/checkpoint/file", "out/tensorboard/file", "out/log/output.log"}
    assert keys == own | {f"{key.rpartition('/')[0]}/worker-1/{key.rpartition('/')[2]}" for key in own}
    assert run.output() == "[]\n"
    secret = s3_server.secret_access_key.encode()
    kept = [file for file in directory.rglob("*") if file.is_file() and secret in file.read_bytes()]
    assert not kept


@pytest.mark.req("TRN-08")
def test_the_outputs_reach_a_store_with_the_credentials_of_the_launching_process(launch, s3_server, monkeypatch):
    bucket = s3_server.make_bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.secret_access_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3_server.region)
    place = PlannedOutput(kind=OutputKind.MODEL, path=f"s3://{bucket}/out", connection="aws")
    run = launch(SAVES, outputs=(place,))
    assert run.finished()["cause"] == "ok"
    with s3_server.client() as client:
        assert [found["Key"] for found in client.list_objects_v2(Bucket=bucket)["Contents"]] == ["out/file"]
    assert run.output() == "[]\n"


@pytest.mark.req("COM-06")
def test_a_bucket_that_is_not_there_fails_the_run_by_its_name(launch, s3_server):
    run = launch(SAVES, outputs=outputs("no-such-bucket"), secrets=connection(s3_server))
    finished = run.finished()
    assert finished["cause"] == "output_denied"
    assert "no-such-bucket" in finished["message"]
