import copy
import json
from datetime import UTC, datetime, timedelta

import pytest

from blocks.cluster.kubernetes.exits import delivery_of, exit_of, has_started, is_lost, is_over, started_at
from tests.unit.kubernetes.recordings import FILES, pod, recorded

MEMORY = (
    "ran out, and the system killed the entry point. Choose a flavor with more memory, or let it use less at a time."
)
STORAGE = "Raise the data-storage size (--storage-gb), or use less."
PYTHON = "Name the interpreter as container_python of the image's entry in the catalogue."


@pytest.mark.parametrize(
    ("name", "cause", "message"),
    [
        ("finished", "ok", ""),
        ("user_error", "user_error", "The entry point exited with code 1: ValueError: no such column: age"),
        ("time_limit", "time_limit", "The time limit of 4 seconds was reached."),
        ("evicted", "lost", "Its pod mf-evicted-1-0-tng67 was evicted from its node."),
        (
            "evicted_while_staging", "lost",
            "Its pod mf-evicted-while-staging-1-0-kdqct was evicted from its node while its inputs were brought.",
        ),
        (
            "evicted_before_start", "lost",
            "Its pod mf-evicted-before-start-1-0-qfxlc was evicted from its node.",
        ),
        (
            "evicted_for_memory", "lost",
            "Its node evicted it: The node was low on resource: memory. Threshold quantity: 100Mi, available: 83512Ki. "
            "Container worker was using 1410836Ki, request is 192Mi, has larger consumption of memory.",
        ),
        ("deleted_pod", "lost", "Somebody deleted its pod mf-deleted-pod-1-0-cxkg4."),
        (
            "deleted_while_staging", "lost",
            "Somebody deleted its pod mf-deleted-while-staging-1-0-tngcc while its inputs were brought.",
        ),
        ("killed_container", "lost", "Its pod mf-killed-container-1-0-9rbhq was killed from outside."),
        (
            "disk_full_work", "disk_full",
            'Its files took more room than it has: Usage of EmptyDir volume "work" exceeds the limit "64Mi". '
            + STORAGE,
        ),
        (
            "disk_full_ephemeral", "disk_full",
            "Its files took more room than it has: Pod ephemeral local storage usage exceeds the total limit of "
            "containers 64Mi. " + STORAGE,
        ),
        ("out_of_memory_supervisor_survives", "out_of_memory", f"The memory of 96 MiB {MEMORY}"),
        ("out_of_memory_whole_container", "out_of_memory", f"The memory of its flavor {MEMORY}"),
        (
            "out_of_memory_while_staging", "launcher_error",
            "The platform's own container ran out of memory bringing the inputs.",
        ),
        (
            "platform_image_is_another", "launcher_error",
            'The platform\'s own container cannot run: exec: "python": executable file not found in $PATH. '
            "Check MAKERFLOW_IMAGE.",
        ),
        (
            "stage_bucket_missing", "input_missing",
            "The input obs://store.example:9000/datasets-of-2029/stage-bucket-missing/main.py cannot be read: the "
            "bucket datasets-of-2029 is gone. Put it back or correct the path, then run again.",
        ),
        (
            "stage_input_changed", "input_changed",
            "The input obs://store.example:9000/bucket/stage-input-changed/main.py changed after the run was planned "
            "(planned: ETag afc7f832284dde2cddd4d77088cd3faf; found: ETag 16d59876af6f11d367fa27372207687b). Start a "
            "new training to use the new content.",
        ),
        (
            "requirements_cannot_be_installed", "environment_failed",
            "requirements.txt could not be installed: No matching distribution found for "
            "no-such-package-of-anybody==1.0. Correct it, or the package index.",
        ),
        (
            "python_missing", "environment_failed",
            'The image\'s Python could not be started: exec: "python3.99": executable file not found in $PATH. '
            + PYTHON,
        ),
        (
            "python_missing_path", "environment_failed",
            'The image\'s Python could not be started: exec: "/opt/conda/bin/python": stat /opt/conda/bin/python: no '
            "such file or directory. " + PYTHON,
        ),
    ],
)  # fmt: skip
def test_how_a_worker_ended_is_one_sentence_and_what_to_do(name, cause, message):
    record = exit_of(pod(recorded(name)))
    assert record is not None
    assert (record.cause, record.message) == (cause, message)


@pytest.mark.parametrize("name", ["running", "staging", "image_backs_off", "unschedulable_cpu", "secret_missing"])
def test_a_worker_that_waits_or_runs_has_not_ended(name):
    assert exit_of(pod(recorded(name))) is None
    assert exit_of(pod(recorded(name)), stopping=True) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_whatever_its_end_the_record_has_no_time_before_the_pod(file):
    for each in recorded(file.stem).pods:
        made = datetime.fromisoformat(each["metadata"]["creationTimestamp"]) - timedelta(seconds=1)
        assert started_at(each) > made
        if record := exit_of(each):
            assert record.began is None or record.began > made
            assert record.ended > made


def test_of_two_nodes_the_one_that_does_not_answer_has_lost_its_worker():
    here, away = (pod(recorded("node_lost"), rank) for rank in (0, 1))
    record = exit_of(away)
    assert record is not None
    assert (record.rank, record.cause) == (1, "lost")
    assert record.message == (
        "Its node node2 does not answer any more. Have it brought back, or deleted from the cluster: until then its "
        "processes may go on."
    )
    assert exit_of(here) is None
    assert (is_lost(here), is_lost(away), is_over(away)) == (False, True, False)


def test_a_node_that_is_no_part_of_the_cluster_any_more_is_named():
    record = exit_of(pod(recorded("node_removed"), 1))
    assert record is not None
    assert (record.cause, record.message) == ("lost", "Its node node2 is no longer part of the cluster.")


@pytest.mark.parametrize("name", ["deleted_pod", "deleted_while_staging", "killed_container"])
def test_what_was_asked_to_end_was_stopped(name):
    for asked in ({"stopping": True}, {"ended_with_others": True}):
        record = exit_of(pod(recorded(name)), **asked)
        assert record is not None
        assert record.cause == "stopped"


@pytest.mark.parametrize("name", ["evicted", "evicted_while_staging", "evicted_before_start"])
def test_an_eviction_is_a_loss_whatever_it_has_done_to_the_others(name):
    assert exit_of(pod(recorded(name)), ended_with_others=True).cause == "lost"
    assert exit_of(pod(recorded(name)), stopping=True).cause == "stopped"


@pytest.mark.parametrize("name", ["user_error", "stage_bucket_missing", "disk_full_work", "python_missing"])
def test_what_was_its_own_doing_is_so_also_when_it_was_asked_to_end(name):
    plain = exit_of(pod(recorded(name)))
    for asked in ({"stopping": True}, {"ended_with_others": True}):
        assert exit_of(pod(recorded(name)), **asked).cause == plain.cause


def test_a_container_that_could_not_be_started_has_not_started():
    assert not has_started(pod(recorded("python_missing")))
    assert has_started(pod(recorded("user_error")))
    assert has_started(pod(recorded("running")))
    assert not has_started(pod(recorded("staging")))


def test_the_installers_words_are_kept_beside_the_sentence():
    record = exit_of(pod(recorded("requirements_cannot_be_installed")))
    assert record.tail.endswith("ERROR: No matching distribution found for no-such-package-of-anybody==1.0")
    assert "Failed to establish a new connection" in record.tail


@pytest.mark.parametrize(
    ("terminated", "cause", "message"),
    [
        (
            {"exitCode": 143, "reason": "Error"},
            "lost",
            "was killed from outside while its requirements.txt was installed.",
        ),
        ({"exitCode": 137, "reason": "OOMKilled"}, "out_of_memory", "the system killed the installer."),
        (
            {"exitCode": 1, "message": "/usr/bin/python3: No module named pip"},
            "environment_failed",
            "installed: /usr/bin/python3: No module named pip. Choose an image with pip.",
        ),
        ({"exitCode": 2}, "environment_failed", "could not be installed: code 2."),
        (
            {"exitCode": 128, "reason": "StartError", "message": 'exec: "python": not found: unknown'},
            "environment_failed",
            'The image\'s Python could not be started: exec: "python": not found.',
        ),
    ],
)
def test_an_installation_can_fail_in_other_ways(terminated, cause, message):
    changed = copy.deepcopy(pod(recorded("requirements_cannot_be_installed")))
    status = next(s for s in changed["status"]["initContainerStatuses"] if s["name"] == "install")
    status["state"] = {"terminated": terminated}
    record = exit_of(changed)
    assert record.cause == cause
    assert message in record.message


def test_a_pod_that_had_to_make_room_is_lost_and_says_for_what():
    changed = copy.deepcopy(pod(recorded("evicted")))
    for condition in changed["status"]["conditions"]:
        if condition["type"] == "DisruptionTarget":
            condition |= {
                "reason": "PreemptionByScheduler",
                "message": "default-scheduler: preempting to accommodate a higher priority pod",
            }
    assert exit_of(changed).message == (
        "Its pod mf-evicted-1-0-tng67 had to go (default-scheduler: preempting to accommodate a higher priority pod)."
    )


def test_a_python_that_cannot_supervise_is_told_with_its_words():
    changed = copy.deepcopy(pod(recorded("killed_container")))
    state = changed["status"]["containerStatuses"][0]["state"]["terminated"]
    state |= {"exitCode": 1, "reason": "Error", "message": "SyntaxError: invalid syntax"}
    record = exit_of(changed)
    assert record.cause == "environment_failed"
    assert record.message == "The image's Python could not supervise the entry point: SyntaxError: invalid syntax."


def test_what_a_sidecar_did_not_say_is_doubted_only_where_its_worker_waited_in_vain():
    finished = pod(recorded("finished"))
    assert delivery_of(finished)["cause"] == "ok"
    silent = copy.deepcopy(finished)
    del next(s for s in silent["status"]["initContainerStatuses"] if s["name"] == "sync")["state"]["terminated"][
        "message"
    ]
    assert delivery_of(silent) == {}
    silent["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] = 1
    assert delivery_of(silent)["cause"] == "launcher_error"
    assert delivery_of(pod(recorded("python_missing_path")))["cause"] == "lost"


def test_a_record_that_kubernetes_cut_in_two_is_no_record():
    changed = copy.deepcopy(pod(recorded("user_error")))
    state = changed["status"]["containerStatuses"][0]["state"]["terminated"]
    state["message"] = state["message"][100:]
    assert exit_of(changed).cause == "environment_failed"
    assert json.loads(json.dumps(exit_of(changed).model_dump(mode="json")))["ended"] <= datetime.now(UTC).isoformat()


@pytest.mark.parametrize(
    ("container", "said"),
    [("worker", {"tail": 1}), ("worker", {"tail": ["x"]}), ("stage", {"cause": "of tomorrow", "message": {"a": 1}})],
)
def test_what_is_no_text_where_text_should_be_is_left_out(container, said):
    changed = copy.deepcopy(pod(recorded("killed_container")))
    status = changed["status"]
    [found] = [s for s in status["initContainerStatuses"] + status["containerStatuses"] if s["name"] == container]
    found["state"] = {"terminated": {"exitCode": 137, "message": json.dumps(said)}}
    ended = exit_of(changed)
    assert ended is not None
    assert (ended.tail, ended.cause) == ("", "lost" if container == "worker" else "launcher_error")


def test_a_worker_that_ended_well_and_had_to_go_before_its_model_could_be_uploaded_is_lost_unless_that_was_asked_for():
    changed = copy.deepcopy(pod(recorded("finished")))
    state = next(s for s in changed["status"]["initContainerStatuses"] if s["name"] == "sync")["state"]["terminated"]
    state["message"] = json.dumps({"cause": "stopped", "message": "It had to go before all workers had ended."})
    assert exit_of(changed).cause == "lost"
    assert exit_of(changed, ended_with_others=True).cause == exit_of(changed, stopping=True).cause == "ok"
