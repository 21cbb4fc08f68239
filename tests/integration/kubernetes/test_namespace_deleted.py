"""What becomes of a training whose namespace somebody deletes."""

import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from blocks.connections.platform import open_platform
from blocks.domain.catalogues import BUILT_IN
from blocks.domain.lifecycle import TrainingStatus
from blocks.domain.specs import TrainingSpec
from flows.training import create_training, delete_training, resume_training
from tasks.training import check_access, launch_workers, plan_run, register_training
from tests.integration.kubernetes.cluster import kubectl, namespace, why_no_cluster
from tests.kubernetes import address_towards
from tests.servers import moto_server
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.skipif(bool(why_no_cluster()), reason=why_no_cluster() or "there is one"),
]

LEARNS = (
    "import itertools, time\nfor n in itertools.count():\n    print(f'step={n} loss=1', flush=True)\n    time.sleep(1)"
)


@pytest.fixture
def of_trainings(home, tmp_path, monkeypatch):
    """A namespace where trainings run."""
    image = os.environ.get("MAKERFLOW_TEST_IMAGE")
    if not image:
        pytest.skip("MAKERFLOW_TEST_IMAGE names no image of the platform that the cluster has")
    own = {"container": image, "container_python": "python"}
    images = [each.model_dump(mode="json") | own for each in BUILT_IN.images]
    flavors = [each.model_dump(mode="json") | {"pod": {"requests": {"cpu": "90m"}}} for each in BUILT_IN.flavors]
    (tmp_path / "catalogue.yaml").write_text(json.dumps({"images": images, "flavors": flavors}))
    server = kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
    with namespace() as name, moto_server(address_towards(server)) as store:
        settings = {
            "MAKERFLOW_CLUSTER": "kubernetes",
            "MAKERFLOW_NAMESPACE": name,
            "MAKERFLOW_IMAGE": image,
            "MAKERFLOW_CATALOGUE": str(tmp_path / "catalogue.yaml"),
            "MAKERFLOW_ARTIFACTS": f"s3://{store.make_bucket()}/artifacts",
            **store.environment,
        }
        for variable, value in settings.items():
            monkeypatch.setenv(variable, value)
        yield name


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(LEARNS)
    return TrainingSpec.of({"name": "t", "algorithm": f"file://{tmp_path}/code", "entry_point": "train.py"})


@pytest.mark.req("TRN-13")
def test_it_ends_as_failed_while_it_is_followed_and_can_be_deleted(of_trainings, spec):
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(create_training, spec)
        page = open_platform().registry.trainings.page
        wait_until(lambda: any(row.status is TrainingStatus.RUNNING for row in page().items) or followed.done())
        kubectl("delete", "namespace", of_trainings, "--wait=false")
        row = followed.result(120)
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert row.reason.startswith("Somebody deleted its run from the cluster. Start it again as a copy")
    delete_training("t")


@pytest.mark.req("TRN-13")
def test_it_ends_as_failed_when_somebody_goes_on_with_it(of_trainings, spec):
    training_id = register_training.task.fn(spec, "a request that died")
    for step in (check_access, plan_run, launch_workers):
        step.task.fn(training_id)
    open_platform().registry.trainings.move(training_id, TrainingStatus.RUNNING, "1 worker started")
    kubectl("delete", "namespace", of_trainings)
    row = resume_training(training_id)
    assert row.status is TrainingStatus.FAIL_TRAIN
    assert f'namespaces "{of_trainings}" not found' in row.reason
    assert "kubectl create namespace" in row.reason
    delete_training("t")
