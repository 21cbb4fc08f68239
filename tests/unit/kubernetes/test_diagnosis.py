import copy
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from blocks.cluster.kubernetes.diagnosis import Trouble, diagnose
from blocks.cluster.kubernetes.view import Seen
from tests.unit.kubernetes.recordings import FILES, recorded, saying

PULL = "environment_failed"
REFUSED = "launcher_error"
ROOM = "It starts when one has; if none is that large, choose a smaller flavor."
TOO_LARGE = (
    "waiting for a node with more of {}: none that the flavor may use now is large enough, however empty. Choose "
    "a smaller flavor, or have a larger node added; `kubectl describe nodes` says what each has (Allocatable)."
)


def diagnosed(seen: Seen) -> Trouble | None:
    return diagnose(seen.jobs[0], seen.pods, seen.warnings, 0.5)


@pytest.mark.parametrize(
    ("name", "cause", "seconds", "message"),
    [
        (
            "image_backs_off", PULL, 120,
            "The image registry.example/team/trainer:1.2 cannot be pulled: its registry cannot be reached (failed to "
            'do request: Head "https://registry.example/v2/team/trainer/manifests/1.2": dial tcp: lookup '
            "registry.example on 192.0.2.1:53: dial udp 192.0.2.1:53: connect: no route to host). Check the container "
            "of the image's entry in the catalogue, and MAKERFLOW_IMAGE_PULL_SECRETS if its registry asks for a key.",
        ),
        (
            "platform_image_cannot_be_pulled", PULL, 120,
            "The image registry.example/makerflow:0.9 cannot be pulled: its registry cannot be reached (failed to "
            'do request: Head "https://registry.example/v2/makerflow/manifests/0.9": dial tcp: lookup registry.example '
            "on 192.0.2.1:53: dial udp 192.0.2.1:53: connect: no route to host). Check MAKERFLOW_IMAGE, and "
            "MAKERFLOW_IMAGE_PULL_SECRETS if its registry asks for a key.",
        ),
        (
            "platform_image_cannot_run", REFUSED, 0,
            "The platform's own container cannot run: it ended with code 1. Check MAKERFLOW_IMAGE.",
        ),
        (
            "image_name_is_invalid", PULL, 30,
            "A container of the image Registry.example/Team/trainer::1 cannot be made: invalid reference format: "
            "repository name (Team/trainer) must be lowercase. Check the container of the image's entry in the "
            "catalogue.",
        ),
        ("unschedulable_cpu", None, 0, TOO_LARGE.format("cpu")),
        ("unschedulable_memory", None, 0, TOO_LARGE.format("memory")),
        ("unschedulable_gpu", None, 0, TOO_LARGE.format("nvidia.com/gpu")),
        (
            "unschedulable_node_selector", None, 0,
            "waiting for a node: none has the labels that the flavor asks for. Label one, or correct the node_selector "
            "of the flavor in the catalogue.",
        ),
        (
            "unschedulable_taint", None, 0,
            "waiting for a node: those there are have the taint nvidia.com/gpu: present, which the flavor does not "
            "tolerate. Add it to the tolerations of the flavor in the catalogue, if it may use them.",
        ),
        (
            "unschedulable_several", None, 0,
            f"waiting for 0.5 vCPU: no node has as many left. {ROOM} Of 6 nodes: 1 node(s) had untolerated taint "
            "{node.kubernetes.io/unreachable: }, 2 node(s) didn't match Pod's node affinity/selector, 3 Insufficient "
            "cpu.",
        ),
        (
            "claim_not_found", "input_missing", 120,
            "There is no PersistentVolumeClaim shared-data in the namespace. Make it, or correct MAKERFLOW_NAS_VOLUMES "
            "or MAKERFLOW_NODE_CACHE, whichever names it.",
        ),
        (
            "claim_pending", None, 0,
            "waiting for the volume of the NAS or node cache: its PersistentVolumeClaim is not bound to one. Ask "
            "`kubectl describe pvc` for what it lacks.",
        ),
        (
            "quota_cpu", None, 0,
            "waiting for 0.03 vCPU: 0.03 of 0.04 are used, which is the quota room of the namespace. It starts when "
            "others have ended.",
        ),
        (
            "quota_memory", None, 0,
            "waiting for 256Mi of memory: 256Mi of 400Mi are used, which is the quota memory of the namespace. It "
            "starts when others have ended.",
        ),
        (
            "quota_gpu", None, 0,
            "waiting for 1 GPU: 2 of 2 are used, which is the quota gpus of the namespace. It starts when others have "
            "ended.",
        ),
        (
            "quota_pods", None, 0,
            "waiting for 1 pod: 1 of 1 are used, which is the quota pods of the namespace. It starts when others have "
            "ended.",
        ),
        (
            "quota_needs_limits", REFUSED, 30,
            "The quota limits of the namespace takes only pods all of whose containers say limits.cpu, which the "
            "platform's own do not, whatever the flavor. Give the namespace a LimitRange of type Container with a "
            "default of it, or have the quota changed.",
        ),
        (
            "limit_range", REFUSED, 30,
            "A LimitRange of the namespace refuses its pods: the maximum memory usage per Container is 128Mi, and the "
            "flavor's limit is 256Mi. Choose another flavor, or have the LimitRange changed.",
        ),
        (
            "pod_security", REFUSED, 30,
            "The namespace's Pod Security standard restricted allows no cache on nodes (restricted volume types "
            '(volume "cache" uses restricted volume type "hostPath")). Set MAKERFLOW_NODE_CACHE to a claim '
            "(claim:NAME), or unset it, or have the standard changed.",
        ),
        (
            "pod_security_root", REFUSED, 30,
            "The namespace's Pod Security standard restricted refuses its pods: runAsUser=0 (pod must not set "
            "runAsUser=0). Have one of the two changed.",
        ),
        (
            "service_account_missing", REFUSED, 30,
            "There is no service account trainer in the namespace. Have it made.",
        ),
        (
            "priority_class_missing", REFUSED, 30,
            "The cluster has no priority class urgent. Correct the priority_class of the flavor in the catalogue.",
        ),
        (
            "secret_missing", REFUSED, 120,
            "Somebody deleted its Secret mf-secret-missing-c8470b31-0. Start it again as a copy.",
        ),
        ("suspended", None, 0, "waiting for its turn in the queue research of Kueue"),
    ],
)  # fmt: skip
def test_what_is_in_the_way_is_one_sentence_and_what_to_do(name, cause, seconds, message):
    trouble = diagnosed(recorded(name))
    assert trouble is not None
    assert (trouble.message, trouble.cause, trouble.patience_seconds) == (message, cause, seconds)


@pytest.mark.parametrize(
    "name",
    [
        "running",
        "running_two",
        "staging",
        "finished",
        "user_error",  # the kubelet had complained of a Secret that it had not seen yet
        "evicted_before_start",  # its image could not be pulled either
        "two_workers_one_fails",
        "node_lost",
    ],
)
def test_nothing_is_in_the_way_of_what_runs_or_is_over(name):
    assert diagnosed(recorded(name)) is None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_message_is_left_half_made(file):
    trouble = diagnosed(recorded(file.stem))
    if trouble:
        assert not set("\n{}") & set(trouble.message.replace("{node.kubernetes.io/unreachable: }", ""))
        assert "  " not in trouble.message
        assert ".." not in trouble.message


def test_until_when_it_may_last_is_told():
    trouble = diagnosed(recorded("limit_range"))
    assert trouble is not None
    assert trouble.told == f"{trouble.message} If that is not mended by 2026-11-30 02:50:59 UTC, it ends."


def test_what_is_in_the_way_of_several_pods_counts_from_the_first_of_them():
    seen = copy.deepcopy(recorded("secret_missing"))
    [first] = [warning for warning in seen.warnings if warning["reason"] == "FailedMount"][:1]
    moment = diagnosed(seen)
    later = {**copy.deepcopy(first), "firstTimestamp": "2099-01-01T00:00:00Z", "lastTimestamp": "2099-01-01T00:00:00Z"}
    assert diagnosed(replace(seen, warnings=(*seen.warnings, later))) == moment


def test_what_may_last_is_told_as_it_is():
    trouble = diagnosed(recorded("unschedulable_cpu"))
    assert trouble is not None
    assert trouble.told == trouble.message


def test_a_run_that_goes_on_from_what_it_has_done_is_given_more_time():
    """Also one whose quota was lowered while it ran."""
    said = "exceeded quota: q, requested: limits.cpu=2, used: limits.cpu=0, limited: limits.cpu=1"
    seen = saying(recorded("limit_range"), f'pods "x" is forbidden: {said}')
    for has_run, seconds in ((False, 30), (True, 600)):
        trouble = diagnose(seen.jobs[0], seen.pods, seen.warnings, 0.5, has_run=has_run)
        assert trouble is not None
        assert trouble.patience_seconds == seconds


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unschedulable_cpu", "waiting for 0.5 vCPU: no node has as many left."),
        ("unschedulable_memory", "waiting for memory: no node has as much left as the flavor asks for."),
        ("unschedulable_gpu", "waiting for nvidia.com/gpu: no node has as many left as the flavor asks for."),
    ],
)
def test_where_a_node_is_large_enough_it_starts_when_one_has_room(name, message):
    seen = copy.deepcopy(recorded(name))
    [scheduled] = [c for c in seen.pods[0]["status"]["conditions"] if c["type"] == "PodScheduled"]
    scheduled["message"] = scheduled["message"].replace("Preemption is not helpful", "No preemption victims found")
    trouble = diagnosed(seen)
    assert trouble is not None
    assert trouble.message == f"{message} {ROOM}"


def test_patience_with_an_image_begins_when_it_is_its_turn():
    seen = recorded("image_backs_off")
    trouble = diagnosed(seen)
    assert trouble is not None
    staged = seen.pods[0]["status"]["initContainerStatuses"][0]["state"]["terminated"]["finishedAt"]
    assert trouble.since == datetime.fromisoformat(staged)
    assert seen.pods[0]["metadata"]["creationTimestamp"] < staged


def test_patience_with_a_refusal_begins_with_the_first_one_of_its_kind():
    """Kubernetes tells each of another pod, whose name it made up."""
    seen = recorded("limit_range")
    [first] = seen.warnings
    later = {**first, "message": first["message"].replace("6kl75", "zzzzz")}
    later |= {"firstTimestamp": "2030-01-01T00:00:10Z", "lastTimestamp": "2030-01-01T00:00:10Z"}
    trouble = diagnose(seen.jobs[0], (), (later, first), 0.5)
    assert trouble is not None
    assert trouble.since == datetime.fromisoformat(first["firstTimestamp"])


@pytest.mark.parametrize(
    ("suspended", "cause", "message"),
    [
        (False, REFUSED, "The namespace's Pod Security standard restricted refuses"),
        (True, None, "waiting for its turn in the queue research of Kueue"),
    ],
)
def test_refusals_count_once_kueue_has_let_a_job_go(suspended, cause, message):
    seen = copy.deepcopy(recorded("pod_security_root"))
    condition = {"type": "Suspended", "status": str(suspended)}
    job = {**seen.jobs[0], "status": {"conditions": [condition]}}
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "research"
    job["spec"] = {**job["spec"], "suspend": suspended}
    trouble = diagnose(job, (), seen.warnings, 0.5)
    assert trouble is not None
    assert trouble.message.startswith(message)
    assert trouble.cause == cause


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('failed to resolve reference "a.io/b:1": a.io/b:1: not found', "its registry does not have it"),
        (
            'failed to resolve reference "docker.io/library/b:1": pull access denied, repository does not exist or may '
            "require authorization: server message: insufficient_scope: authorization failed",
            "its registry refuses it to the cluster",
        ),
        (
            'failed to resolve reference "a.io/b:1": unexpected status from HEAD request to https://a.io/v2/b: '
            "401 Unauthorized",
            "its registry refuses it to the cluster",
        ),
        (
            "unexpected status from HEAD request to https://a.io/v2/b: 429 Too Many Requests: toomanyrequests",
            "its registry allows no more downloads for now",
        ),
        ('Head "https://a.io/v2/": tls: failed to verify certificate: x509', "its registry cannot be reached"),
        ("write /var/lib/containerd/x: no space left on device", "the disk of its node is full"),
        ("something new", "the node says"),
    ],
)
def test_why_an_image_cannot_be_pulled_is_told_in_words(said, why):
    seen = copy.deepcopy(recorded("image_cannot_be_pulled"))
    seen.pods[0]["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ErrImagePull", "message": said}}
    trouble = diagnosed(seen)
    assert trouble is not None
    assert f"cannot be pulled: {why} (" in trouble.message


@pytest.mark.parametrize(
    ("said", "cause", "message"),
    [
        (
            'pods "x" is forbidden: exceeded quota: q, requested: requests.cpu=1500m,requests.memory=2Gi, used: '
            "requests.cpu=7,requests.memory=1Gi, limited: requests.cpu=8,requests.memory=2Gi",
            None,
            "waiting for 1.5 vCPU: 7 of 8 are used, which is the quota q of the namespace. "
            "It starts when others have ended.",
        ),
        (
            'pods "x" is forbidden: exceeded quota: q, requested: limits.cpu=2,limits.memory=4Gi, used: '
            "limits.cpu=0,limits.memory=0, limited: limits.cpu=2,limits.memory=2Gi",
            REFUSED,
            "The quota q of the namespace allows no more than 2Gi, and a worker asks for 4Gi of memory. "
            "Use a smaller flavor, or have the quota raised.",
        ),
        (
            'pods "x" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=1, used: '
            "requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=0",
            REFUSED,
            "The quota q of the namespace allows no more than 0, and a worker asks for 1 GPU. "
            "Use a smaller flavor, or have the quota raised.",
        ),
        (
            'admission webhook "v" denied the request: exceeded quota: q, requested: 2 GPUs, used: 1 GPU, limited: 2',
            REFUSED,
            "The cluster's rule v refuses its pods: exceeded quota: q, requested: 2 GPUs, used: 1 GPU, limited: 2. "
            "Ask whoever keeps the cluster.",
        ),
        (
            'jobs.batch "x" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=5, '
            "limited: count/jobs.batch=5",
            None,
            "waiting for 1 Job: 5 of 5 are used, which is the quota q of the namespace. It starts when others have "
            "ended.",
        ),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: team label is required',
            REFUSED,
            "The cluster's rule validate.kyverno.svc-fail refuses its pods: team label is required. "
            "Ask whoever keeps the cluster.",
        ),
        (
            'Internal error occurred: failed calling webhook "v.example": Post "https://v.svc": context deadline '
            "exceeded",
            None,
            'waiting for the cluster to make its pods: Internal error occurred: failed calling webhook "v.example": '
            'Post "https://v.svc": context deadline exceeded',
        ),
        (
            'pods "x" is forbidden: a rule of tomorrow',
            REFUSED,
            "The cluster refuses its pods: a rule of tomorrow. Ask whoever keeps the cluster.",
        ),
        (
            'pods "x" is forbidden: maximum cpu usage per Pod is 2, but limit is 4',
            REFUSED,
            "A LimitRange of the namespace refuses its pods: the maximum cpu usage per Pod is 2, and the flavor's "
            "limit is 4. Choose another flavor, or have the LimitRange changed.",
        ),
    ],
)
def test_what_can_pass_waits_and_what_cannot_ends_the_run(said, cause, message):
    trouble = diagnosed(saying(recorded("limit_range"), said))
    assert trouble is not None
    assert (trouble.message, trouble.cause) == (message, cause)


def test_a_warning_that_gives_no_reason_says_nothing():
    seen = recorded("limit_range")
    assert diagnosed(replace(seen, warnings=tuple(_without(w, "reason") for w in seen.warnings))) is None
    staging = recorded("staging")
    unsaid = {"involvedObject": {"name": "x"}, "metadata": {"creationTimestamp": "2026-11-30T02:44:15Z"}}
    assert diagnosed(replace(staging, warnings=(unsaid,))) == diagnosed(staging)


def _without(document, key):
    return {name: value for name, value in document.items() if name != key}


def test_a_node_that_is_away_is_not_taken_for_one_without_the_labels():
    """The words of a scheduler that names no taints: one of two nodes was lost, and the flavor asks for it."""
    seen = copy.deepcopy(recorded("unschedulable_node_selector"))
    said = "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint(s)"
    [scheduled] = [c for c in seen.pods[0]["status"]["conditions"] if c["type"] == "PodScheduled"]
    scheduled["message"] = f"0/2 nodes are available: {said}. no new claims to deallocate, preemption: 0/2 nodes are."
    trouble = diagnosed(seen)
    assert trouble is not None
    assert trouble.message == (
        "waiting for a node: those that would do are out of use, or have a taint that the flavor does not tolerate. "
        f"It starts when one is back; `kubectl describe nodes` names the taints. Of 2 nodes: {said}."
    )


def test_complaints_of_another_attempt_say_nothing():
    seen = copy.deepcopy(recorded("limit_range"))
    seen.jobs[0]["metadata"]["name"] = seen.jobs[0]["metadata"]["name"][:-1] + "2"
    assert diagnosed(seen) is None


def test_complaints_of_an_earlier_job_of_the_same_name_say_nothing():
    seen = copy.deepcopy(recorded("limit_range"))
    seen.warnings[0]["involvedObject"]["uid"] = seen.jobs[0]["metadata"]["uid"]
    assert diagnosed(seen) is not None
    seen.warnings[0]["involvedObject"]["uid"] = "another"
    assert diagnosed(seen) is None


def test_a_complaint_is_forgotten_once_the_pods_are_there():
    refused, running = recorded("quota_cpu"), recorded("running")
    assert diagnose(refused.jobs[0], running.pods, refused.warnings, 0.5) is None


def test_with_some_pods_refused_the_run_waits_for_them():
    refused, running = copy.deepcopy(recorded("quota_cpu")), recorded("running")
    refused.jobs[0]["spec"]["completions"] = 2
    trouble = diagnose(refused.jobs[0], running.pods, refused.warnings, 0.5)
    assert trouble is not None
    assert trouble.message.startswith("waiting for 0.03 vCPU")


def test_the_newest_complaint_counts():
    first, last = (saying(recorded("limit_range"), f"said {word}").warnings[0] for word in ("first", "last"))
    later = {**last, "lastTimestamp": datetime(2030, 1, 1, tzinfo=UTC).isoformat()}
    trouble = diagnose(recorded("limit_range").jobs[0], (), (first, later), 0.5)
    assert trouble is not None
    assert trouble.message == "waiting for the cluster to make its pods: said last"


def test_a_job_that_somebody_suspended_says_so():
    seen = copy.deepcopy(recorded("suspended"))
    del seen.jobs[0]["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    trouble = diagnosed(seen)
    assert trouble is not None
    assert trouble.message == "waiting for its Job mf-suspended-1, which somebody has suspended, to be resumed"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            'MountVolume.SetUp failed for volume "nas-nas1" : mount failed: exit status 32 Mounting arguments: -t nfs '
            "files.example:/data /var/lib/x Output: mount.nfs: access denied by server",
            "waiting for the volume nas-nas1, which cannot be mounted: exit status 32 Mounting arguments: -t nfs "
            "files.example:/data /var/lib/x Output: mount.nfs: access denied by server. Check MAKERFLOW_NAS_VOLUMES "
            "and the server it names",
        ),
        ("Unable to attach or mount volumes", "waiting for a volume: Unable to attach or mount volumes"),
    ],
)
def test_a_volume_that_cannot_be_mounted_is_named(said, message):
    trouble = diagnosed(saying(recorded("secret_missing"), said))
    assert trouble is not None
    assert (trouble.message, trouble.cause) == (message, None)
