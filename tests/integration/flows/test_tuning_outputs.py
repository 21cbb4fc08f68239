"""What a tuning fetches from stores, and whose outputs stay when it is over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.domain.lifecycle import TrialStatus, TuningStatus
from flows.tuning import resume_tuning
from tests.doubles.fault_proxy import FaultProxy, fault_proxy, refusal
from tests.integration.flows.tunings import MakeTuning, statuses_of, tuned
from tests.servers import S3Server


@pytest.fixture
def make(home: Path, tmp_path: Path) -> MakeTuning:
    return MakeTuning(tmp_path)


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """Before the server that `s3://` paths lead to."""
    with fault_proxy(s3_server.endpoint_url) as running:
        for name, value in {**s3_server.environment, "AWS_ENDPOINT_URL": running.url}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.req("TUN-01")
def test_data_is_fetched_once_for_all_trials_also_for_those_that_begin_together(
    make: MakeTuning, s3_server: S3Server, proxy: FaultProxy
) -> None:
    bucket = s3_server.make_bucket()
    with s3_server.client() as client:
        client.put_object(Bucket=bucket, Key="data/rows.csv", Body=b"7\n" * 1000)
    source = """
import os
with open(os.path.join(os.environ["EM_DATASET_TRAIN"], "rows.csv")) as rows:
    print(f"loss={len(rows.readlines())}")
"""
    tuning = tuned(make(source, max_trainings=4, parallel_trainings=2, datasets={"train": f"s3://{bucket}/data"}))
    assert (statuses_of(tuning), tuning.best_value) == ([TrialStatus.SUCCEEDED] * 4, 1000)
    assert len(proxy.gets("/data/rows.csv")) == 2  # to prove the right to read, and to fetch


@pytest.mark.req("TUN-01", "TUN-09")
def test_the_model_of_the_best_that_has_left_one_stays_where_the_best_was_ended_early(
    make: MakeTuning, tmp_path: Path
) -> None:
    source = """
import os, pathlib, time
k = int(os.environ["EM_HP_K"])
for step in range(1, 4 if k < 4 else 600):
    print(f"step={step} loss={1 if k < 4 else 5}", flush=True)
    time.sleep(0.01 if k < 4 else 0.05)
print(f"step=4 loss={10 - k}")
pathlib.Path(os.environ["EM_MODEL_DIR"], "model.txt").write_text("model")
"""
    tuning = tuned(
        make(
            source,
            strategy="GRID",
            parameters=("k=INT[1,4]",),
            objective_value="LAST",
            early_stopping={"min_trainings_required": 3, "start_step": 2},
            keep="none",
        )
    )
    assert (tuning.best_number, statuses_of(tuning)[3]) == (4, TrialStatus.EARLY_STOPPED)
    assert [file.parent.name for file in (tmp_path / "out" / "t").rglob("model.txt")] == ["3"]


@pytest.mark.req("TUN-01", "COM-06")
def test_a_tuning_whose_outputs_may_not_be_removed_is_over_all_the_same_and_says_so(
    make: MakeTuning, s3_server: S3Server, proxy: FaultProxy
) -> None:
    bucket = s3_server.make_bucket()
    with s3_server.client() as client:

        def models() -> int:
            listed = client.list_objects_v2(Bucket=bucket).get("Contents", [])
            return sum(one["Key"].endswith("model.txt") for one in listed)

        refused = refusal(403, "AccessDenied")
        proxy.fail(refused, lambda request: request.method == "DELETE" or "delete" in request.query, times=1000)
        tuning = tuned(make(max_trainings=2, keep="none", output=f"s3://{bucket}/out"))
        assert (tuning.status, models()) == (TuningStatus.COMPLETE, 2)
        assert tuning.reason.startswith("2 trainings ran, which is all of them. Outputs that were not to be kept")
        assert "Grant delete" in tuning.reason
        proxy.forgive()
        again = resume_tuning("t")
        assert (again.status, models()) == (TuningStatus.COMPLETE, 1)
        assert again.reason == "2 trainings ran, which is all of them"
