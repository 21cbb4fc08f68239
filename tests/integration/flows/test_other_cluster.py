"""A training or tuning that runs on one cluster, and settings that choose another, which knows nothing of it."""

import re
import shutil
from pathlib import Path

import pytest

from blocks.cluster.local import LocalCluster
from blocks.connections.platform import open_platform
from blocks.domain.errors import InputMissingError, InvalidInputError
from blocks.domain.plan import OutputKind
from blocks.upkeep.findings import Kind
from deployments.cli.training_logs import read_log
from flows.training import TrainingHandle, create_training, delete_training, resume_training, stop_training
from flows.tuning import TuningHandle, create_tuning, delete_tuning, resume_tuning, stop_tuning
from flows.upkeep import upkeep
from tests.integration.flows.conftest import MakeSpec
from tests.integration.flows.test_training import SLEEPS
from tests.integration.flows.test_tuning_upkeep import begun
from tests.integration.flows.test_upkeep import launched
from tests.integration.flows.tunings import MakeTuning
from tests.processes import processes_of

pytestmark = pytest.mark.req("COM-04", "TUN-17")

REFUSAL = (
    "What runs on local: the settings choose kubernetes/ml, which knows nothing of it. "
    "Set MAKERFLOW_CLUSTER=local, and try again."
)


@pytest.fixture
def elsewhere(monkeypatch):
    """Have the cluster be another one from now on, or the one that it was."""

    def choose(place):
        monkeypatch.setattr(LocalCluster, "place", place)

    return choose


def test_a_training_that_runs_on_another_cluster_is_left_alone(make_spec: MakeSpec, home: Path, elsewhere) -> None:
    launched(make_spec(SLEEPS, "far"))
    before = open_platform().registry.trainings.get("far")
    elsewhere("kubernetes/ml")
    for act in (stop_training, resume_training, TrainingHandle.resumed):
        with pytest.raises(InvalidInputError) as refused:
            act("far")
        assert str(refused.value) == REFUSAL
    [finding] = [one for one in upkeep(patience_seconds=0).findings if one.kind is Kind.TRAINING]
    assert (finding.name, finding.done, finding.failed) == ("far", REFUSAL, False)
    assert open_platform().registry.trainings.get("far").status is before.status
    elsewhere("local")
    stop_training("far")
    assert processes_of(home) == []


def test_what_is_kept_of_one_on_another_cluster_is_not_forgotten(make_spec: MakeSpec, elsewhere) -> None:
    create_training(make_spec("print('only there')", "kept"))
    trainings = open_platform().registry.trainings
    row = trainings.follow(trainings.get("kept").id, logs_uploaded=False)  # as where its bucket was gone
    elsewhere("kubernetes/ml")
    for act in (lambda: delete_training("kept"), lambda: [*read_log(row, 0, follow=False, tail=None)]):
        with pytest.raises(InvalidInputError) as refused:
            act()
        assert str(refused.value) == REFUSAL
    elsewhere("local")
    delete_training("kept")


def test_a_log_that_somebody_removed_from_its_place_is_missed(make_spec: MakeSpec) -> None:
    create_training(make_spec("print('a line')", "bare"))
    row = open_platform().registry.trainings.get("bare")
    assert [*read_log(row, 0, follow=False, tail=None)] == ["a line"]
    [log] = [upload for upload in row.uploaded if upload.output is OutputKind.LOG]
    shutil.rmtree(log.path.removeprefix("file://"))
    with pytest.raises(InputMissingError, match=re.escape(log.path)):
        list(read_log(row, 0, follow=False, tail=None))


def test_the_log_of_a_worker_that_printed_nothing_is_not_missed(make_spec: MakeSpec) -> None:
    program = "import os\nif os.environ['RANK'] == '0':\n    print('a line')"
    create_training(make_spec(program, "quiet", workers=2))
    row = open_platform().registry.trainings.get("quiet")
    assert [[*read_log(row, rank, follow=False, tail=None)] for rank in (0, 1)] == [["a line"], []]


def test_so_is_a_tuning_and_one_that_was_stopped_is_not_gone_on_with(home: Path, tmp_path: Path, elsewhere) -> None:
    make = MakeTuning(tmp_path)
    make.settings = {"strategy": "GRID", "parameters": ("k=INT[1,2]",), "parallel_trainings": 2}
    handle = begun(make, SLEEPS)
    elsewhere("kubernetes/ml")
    with pytest.raises(InvalidInputError, match="MAKERFLOW_CLUSTER=local"):
        stop_tuning(handle.id)
    elsewhere("local")
    stop_tuning(handle.id)
    assert processes_of(home) == []
    before = open_platform().registry.tunings.get(handle.id)
    elsewhere("kubernetes/ml")
    for resume in (resume_tuning, TuningHandle.resumed):
        with pytest.raises(InvalidInputError, match="MAKERFLOW_CLUSTER=local"):
            resume(handle.id)
    assert stop_tuning(handle.id).status is before.status
    assert open_platform().registry.tunings.get(handle.id).status is before.status


def test_what_is_kept_of_a_trial_on_another_cluster_is_not_forgotten(tmp_path: Path, elsewhere) -> None:
    make = MakeTuning(tmp_path)
    create_tuning(make("print('loss=1')", parameters=("k=INT[1,1]",)))
    registry = open_platform().registry
    trial, *_ = registry.tunings.trials(registry.tunings.get("t").id)
    registry.trainings.follow(trial.training_id, logs_uploaded=False)
    elsewhere("kubernetes/ml")
    with pytest.raises(InvalidInputError) as refused:
        delete_tuning("t")
    assert str(refused.value) == REFUSAL
    registry.trainings.follow(trial.training_id, logs_uploaded=True)
    delete_tuning("t")
