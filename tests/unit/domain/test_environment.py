import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.domain.environment import (
    Rendezvous,
    WorkerDirectories,
    entry_point_arguments,
    entry_point_environment,
    environment_name,
)
from blocks.domain.plan import Resources, RunImage, RunPlan

DIRECTORIES = WorkerDirectories(
    source="/w/source",
    model="/w/model",
    checkpoints="/w/checkpoints",
    tensorboard="/w/tensorboard",
    datasets={"train": "/in/train", "hold-out": "/in/hold-out"},
    tmp="/w/tmp",
)


def plan(**settings):
    return RunPlan(
        **{
            "run_id": "run-1",
            "created": datetime(2026, 1, 1, tzinfo=UTC),
            "workers": 1,
            "resources": Resources(vcpus=1, memory_mib=1024),
            "image": RunImage(name="python", python="3.11"),
            "entry_point": "code/train.py",
            "hyperparameters": {"lr": "0.1", "batch-size": "32"},
            "storage_mib": 1024,
            "time_limit_seconds": 60,
        }
        | settings
    )


def loopback(workers):
    return Rendezvous(
        addresses=("127.0.0.1",) * workers,
        ports=tuple(range(4000, 4000 + workers)),
        tf_ports=tuple(range(5000, 5000 + workers)),
    )


@pytest.mark.req("ENV-01")
def test_the_entry_point_finds_every_variable_of_the_guide():
    found = entry_point_environment(plan(), 0, DIRECTORIES, loopback(1), region="KR1", app_key="key-1")
    assert {name: value for name, value in found.items() if name.startswith("EM_")} == {
        "EM_SOURCE_DIR": "/w/source",
        "EM_ENTRY_POINT": "code/train.py",
        "EM_DATASET_TRAIN": "/in/train",
        "EM_DATASET_HOLD_OUT": "/in/hold-out",
        "EM_DATASETS": '{"train": "/in/train", "hold-out": "/in/hold-out"}',
        "EM_MODEL_DIR": "/w/model",
        "EM_CHECKPOINT_DIR": "/w/checkpoints",
        "EM_HP_LR": "0.1",
        "EM_HP_BATCH_SIZE": "32",
        "EM_HPS": '{"lr": "0.1", "batch-size": "32"}',
        "EM_TENSORBOARD_LOG_DIR": "/w/tensorboard",
        "EM_REGION": "KR1",
        "EM_APPKEY": "key-1",
    }
    assert found["TMPDIR"] == "/w/tmp"


@pytest.mark.req("ENV-01", "TRN-07")
def test_the_input_checkpoints_directory_is_set_only_when_one_was_given():
    assert "EM_CHECKPOINT_INPUT_DIR" not in entry_point_environment(plan(), 0, DIRECTORIES, loopback(1))
    given_one = DIRECTORIES.model_copy(update={"checkpoint_input": "/in/checkpoint"})
    assert entry_point_environment(plan(), 0, given_one, loopback(1))["EM_CHECKPOINT_INPUT_DIR"] == "/in/checkpoint"


@pytest.mark.req("TRN-04")
def test_hyperparameters_are_arguments_in_the_order_given_before_further_ones():
    assert entry_point_arguments(plan(arguments=("--verbose",))) == ("--lr", "0.1", "--batch-size", "32", "--verbose")


@pytest.mark.req("TRN-18")
@given(st.integers(2, 8))
def test_every_worker_finds_the_same_tensorflow_cluster_and_its_own_index(workers):
    configurations = [
        json.loads(entry_point_environment(plan(workers=workers), rank, DIRECTORIES, loopback(workers))["TF_CONFIG"])
        for rank in range(workers)
    ]
    hosts = [f"127.0.0.1:{5000 + rank}" for rank in range(workers)]
    assert all(configuration["cluster"] == {"worker": hosts} for configuration in configurations)
    assert [c["task"] for c in configurations] == [{"type": "worker", "index": rank} for rank in range(workers)]


@pytest.mark.req("TRN-18")
def test_one_worker_alone_is_no_tensorflow_cluster():
    assert "TF_CONFIG" not in entry_point_environment(plan(), 0, DIRECTORIES, loopback(1))


@pytest.mark.req("TRN-19")
@given(st.integers(1, 8))
def test_every_worker_finds_what_init_process_group_and_torchrun_read(workers):
    for rank in range(workers):
        found = entry_point_environment(plan(workers=workers), rank, DIRECTORIES, loopback(workers))
        assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("127.0.0.1", "4000")
        assert (found["WORLD_SIZE"], found["RANK"], found["LOCAL_RANK"]) == (str(workers), str(rank), "0")
        assert (found["PET_NNODES"], found["PET_NODE_RANK"], found["PET_NPROC_PER_NODE"]) == (
            str(workers),
            str(rank),
            "1",
        )
        assert (found["PET_MASTER_ADDR"], found["PET_MASTER_PORT"]) == ("127.0.0.1", "4000")
        assert found["GLOO_SOCKET_IFNAME"] == "lo"


@pytest.mark.req("TRN-19")
def test_workers_on_several_machines_choose_their_network_themselves():
    pods = Rendezvous(addresses=("run-0.run", "fd00::2"), ports=(4000, 4000), tf_ports=(5000, 5000))
    found = entry_point_environment(plan(workers=2), 1, DIRECTORIES, pods)
    assert "GLOO_SOCKET_IFNAME" not in found
    assert found["MASTER_ADDR"] == "run-0.run"
    assert json.loads(found["TF_CONFIG"])["cluster"]["worker"] == ["run-0.run:5000", "[fd00::2]:5000"]


def test_the_plans_own_variables_never_replace_the_platforms():
    found = entry_point_environment(
        plan(environment={"EM_MODEL_DIR": "/elsewhere", "RANK": "7", "MINE": "1"}),
        0,
        DIRECTORIES,
        loopback(1),
    )
    assert (found["EM_MODEL_DIR"], found["RANK"], found["MINE"]) == ("/w/model", "0", "1")


def test_a_rank_that_the_run_does_not_have_is_refused():
    with pytest.raises(ValueError, match="rank 2 is not among the 2 workers"):
        entry_point_environment(plan(workers=2), 2, DIRECTORIES, loopback(2))


def test_a_rendezvous_has_ports_for_each_rank():
    with pytest.raises(ValidationError, match="one TensorFlow port for each rank"):
        Rendezvous(addresses=("a", "b"), ports=(1, 2), tf_ports=(3,))


@pytest.mark.req("ENV-01")
@given(st.text(min_size=1))
def test_names_from_user_input_become_upper_case_names_of_variables(name):
    assert set(environment_name(name)) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
