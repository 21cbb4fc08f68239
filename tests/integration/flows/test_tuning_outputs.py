"""Whose outputs stay when a tuning is over."""

from pathlib import Path

import pytest

from blocks.domain.lifecycle import TuningStatus
from flows.tuning import resume_tuning
from tests.doubles.fault_proxy import fault_proxy, refusal
from tests.integration.flows.tunings import MakeTuning, tuned
from tests.servers import S3Server


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@pytest.mark.req("TUN-01", "COM-06")
def test_a_tuning_whose_outputs_may_not_be_removed_is_over_all_the_same_and_says_so(
    make: MakeTuning, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3_server.make_bucket()
    with fault_proxy(s3_server.endpoint_url) as proxy, s3_server.client() as client:
        for name, value in {**s3_server.environment, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)

        def models() -> int:
            listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
            return sum(one["Key"].endswith("model.txt") for one in listed)

        refused = refusal(403, "AccessDenied")
        proxy.fail(refused, lambda request: request.method == "DELETE" or "delete" in request.query, times=1000)
        tuning = tuned(make(max_trainings=2, keep="none", output=f"s3://{bucket}/out"))
        assert (tuning.status, models()) == (TuningStatus.COMPLETE, 2)
        assert tuning.reason.startswith("2 trainings have run, which is all of them. Outputs that were not to be kept")
        assert "Grant delete" in tuning.reason
        proxy.forgive()
        again = resume_tuning("t")
        assert (again.status, models()) == (TuningStatus.COMPLETE, 1)
        assert again.reason == "2 trainings have run, which is all of them"
