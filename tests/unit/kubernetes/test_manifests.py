"""The objects that a plan becomes, beside those in `manifests/`.

When a change of them is meant, WRITE_MANIFESTS=1 has the files written anew.
"""

import base64
import gzip
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from blocks.cluster.kubernetes import manifests
from blocks.cluster.kubernetes.manifests import (
    Site,
    _volume_name,
    addresses,
    job_manifest,
    nas_ids,
    record_manifest,
    secret_manifests,
    secret_name,
    service_manifest,
)
from blocks.cluster.kubernetes.quantities import requested
from blocks.cluster.pod_settings import CONFIDENTIAL, PLAN
from blocks.domain.errors import CapacityError
from blocks.domain.plan import PlannedInput, PlannedOutput, PodShape, Resources, RunPlan, Toleration
from blocks.domain.quantities import quantity
from tests.integration.kubernetes.pod_security import violations
from tests.unit.kubernetes.plans import STORE, make_plan, source

FILES = Path(__file__).parent / "manifests"
OWNER = {"metadata": {"name": "mf-training-7", "uid": "5e6f7a8b-0000-4000-8000-000000000000"}}
SECRETS = {"store": {"endpoint_url": "https://store.example", "access_key_id": "key", "secret_access_key": "secret"}}
ENVIRONMENT = {"AWS_CA_BUNDLE": "/etc/ca.pem", "PIP_INDEX_URL": "https://me:token@packages.example/simple"}
IMAGE = "registry.example/makerflow:1.0"
NOW = 1893456000.0
SITE = Site(image=IMAGE, pull_secrets=("registry-key",), region="KR1", app_key="app")
NAS = PlannedInput(kind="dataset", name="train", path="nas://NAS_1:/data", objects=())
GPUS = PodShape(
    node_selector={"accelerator": "a100"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
    priority_class="research",
)

Case = tuple[RunPlan, Site, dict[str, Any]]


def case(plan: RunPlan, site: Site = SITE, **more: Any) -> Case:
    return plan, site, {"attempt": 1, "deadline": None, "secrets": 1, **more}


CASES: Mapping[str, Case] = {
    "one_worker": case(make_plan()),
    "four_workers_with_gpus": case(
        make_plan(workers=4, resources=Resources(vcpus=8, memory_mib=65536, gpus=2), pod=GPUS, stop_grace_seconds=30),
    ),
    "second_attempt": case(make_plan(workers=2), attempt=2, deadline=1893459600.0),
    "second_attempt_in_a_queue": case(make_plan(), Site(image=IMAGE, queue="research"), attempt=2, deadline=NOW + 60),
    "requirements": case(make_plan(entry_point="src/main.py", inputs=(source("src/main.py", "src/requirements.txt"),))),
    "nas_claim": case(
        make_plan(inputs=(source("main.py"), NAS), outputs=[PlannedOutput(kind="model", path="nas://NAS_1:/models/7")]),
        Site(image=IMAGE, nas_volumes={"NAS_1": "claim:shared"}),
    ),
    "nas_nfs": case(
        make_plan(inputs=(source("main.py"), NAS)),
        Site(image=IMAGE, nas_volumes={"NAS_1": "nfs:files.example:/exports/ml"}),
    ),
    "node_cache": case(make_plan(), Site(image=IMAGE, node_cache="/var/cache/makerflow", cache_bytes=50 << 30)),
    "node_cache_claim": case(make_plan(), Site(image=IMAGE, node_cache="claim:node-cache", cache_bytes=50 << 30)),
    "kueue": case(make_plan(), Site(image=IMAGE, queue="research", service_account="trainer", run_as_user=2000)),
    "several_secrets": case(make_plan(), secrets=3),
}


def rendered(name: str) -> list[dict[str, Any]]:
    """All that is applied for a case, but the Secrets."""
    plan, site, more = CASES[name]
    found = [record_manifest(plan, "{}"), *([service_manifest(plan, OWNER)] if plan.workers > 1 else [])]
    found.append(job_manifest(plan, site, owner=OWNER, now=NOW, **more))
    document: list[dict[str, Any]] = json.loads(json.dumps(found))
    return document


def job_of(name: str) -> dict[str, Any]:
    return rendered(name)[-1]


def pod_of(name: str) -> dict[str, Any]:
    pod: dict[str, Any] = job_of(name)["spec"]["template"]["spec"]
    return pod


def container(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in (*pod["initContainers"], *pod["containers"]) if each["name"] == name)


@pytest.mark.parametrize("name", CASES)
def test_the_manifests_are_as_in_their_file(name):
    file = FILES / f"{name}.yaml"
    text = yaml.safe_dump_all(rendered(name), sort_keys=False, width=120)
    if os.environ.get("WRITE_MANIFESTS"):
        file.write_text(text)
    assert text == file.read_text(), __doc__


def test_there_is_no_file_without_its_case():
    assert {file.stem for file in FILES.glob("*.yaml")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_job_keeps_to_the_restricted_pod_security(name):
    """But where somebody configured a directory of the node, or NFS, which that standard does not know."""
    allowed = {"node_cache": ["volume cache: {'hostPath'}"], "nas_nfs": ["volume nas-nas-1-61811e80: {'nfs'}"]}
    assert list(violations(pod_of(name))) == allowed.get(name, [])


@pytest.mark.parametrize("name", CASES)
def test_every_root_is_read_only_and_no_pod_has_an_account(name):
    pod = pod_of(name)
    assert pod["automountServiceAccountToken"] is False
    for each in (*pod["initContainers"], *pod["containers"]):
        assert each["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("name", CASES)
def test_credentials_reach_our_own_containers_alone(name):
    pod = pod_of(name)
    containers = (*pod["initContainers"], *pod["containers"])
    having = {each["name"] for each in containers if CONFIDENTIAL in json.dumps(each)}
    assert having == {"stage", "sync"}
    assert all(container(pod, each)["image"] == IMAGE for each in having)
    assert "env" not in container(pod, "worker")
    assert CONFIDENTIAL not in json.dumps(pod["volumes"])  # no file has them that user code could lead the sidecar to


@pytest.mark.parametrize("name", CASES)
def test_all_that_is_mounted_is_a_volume_and_the_other_way_round(name):
    pod = pod_of(name)
    mounted = {mount["name"] for each in (*pod["initContainers"], *pod["containers"]) for mount in each["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", CASES)
def test_a_pod_asks_for_what_is_counted_and_no_container_for_more_than_its_limit(name):
    plan, pod = CASES[name][0], pod_of(name)
    together = [container(pod, each)["resources"]["requests"] for each in ("worker", "sync")]
    assert sum(quantity(each["cpu"]) for each in together) == pytest.approx(requested(plan).vcpus)
    assert sum(quantity(each["memory"]) for each in together) == requested(plan).memory_mib << 20
    for each in (*pod["initContainers"], *pod["containers"]):
        resources = each["resources"]
        for what, limit in resources["limits"].items():
            assert quantity(resources["requests"].get(what, "0")) <= quantity(limit)


@pytest.mark.parametrize("name", CASES)
def test_the_failure_policy_names_containers_that_there_are(name):
    rules = job_of(name)["spec"]["podFailurePolicy"]["rules"]
    named = {rule["onExitCodes"]["containerName"] for rule in rules if "onExitCodes" in rule}
    pod = pod_of(name)
    assert named <= {each["name"] for each in (*pod["initContainers"], *pod["containers"])}


@pytest.mark.parametrize("name", CASES)
def test_all_but_the_record_belongs_to_it(name):
    record, *others = rendered(name)
    assert "ownerReferences" not in record["metadata"]
    for each in others:
        [reference] = each["metadata"]["ownerReferences"]
        assert (reference["kind"], reference["name"], reference["uid"]) == ("ConfigMap", *OWNER["metadata"].values())


def test_workers_find_each_other_by_names_of_their_pods():
    plan = make_plan(workers=2)
    job, service = job_of("second_attempt"), rendered("second_attempt")[1]
    assert addresses(plan, 2) == ("mf-training-7-2-0.mf-training-7", "mf-training-7-2-1.mf-training-7")
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"] == "mf-training-7"
    assert service["spec"]["selector"].items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_a_worker_that_is_alone_needs_no_service():
    assert addresses(make_plan(), 1) == ("127.0.0.1",)
    assert "subdomain" not in pod_of("one_worker")


def test_what_opens_the_stores_is_in_the_first_secret():
    [secret] = secret_manifests(make_plan(), SECRETS, ENVIRONMENT, OWNER)
    assert (secret["metadata"]["name"], secret["immutable"]) == ("mf-training-7-5e6f7a8b-0", True)
    contents = {name: base64.b64decode(text) for name, text in secret["data"].items()}
    assert json.loads(contents[CONFIDENTIAL]) == {"connections": SECRETS, "environment": ENVIRONMENT}
    assert contents["PIP_INDEX_URL"].decode() == ENVIRONMENT["PIP_INDEX_URL"]
    assert set(contents) == {f"{PLAN}.00", CONFIDENTIAL, "PIP_INDEX_URL"}
    assert RunPlan.model_validate_json(gzip.decompress(contents[f"{PLAN}.00"])) == make_plan()


def test_the_installer_gets_proxies_by_whatever_name_the_process_has_them():
    proxies = {"https_proxy": "http://small:3128", "HTTPS_PROXY": "http://large:3128", "NO_PROXY": ".example"}
    [secret] = secret_manifests(make_plan(), SECRETS, {**proxies, "PIP_CERT": "/etc/own.pem"}, OWNER)
    found = {name: base64.b64decode(text).decode() for name, text in secret["data"].items() if name.isupper()}
    assert found == {"HTTPS_PROXY": "http://small:3128", "NO_PROXY": ".example"}


def test_nothing_of_a_secret_is_in_another_object():
    told = json.dumps([rendered(name) for name in CASES])
    for word in ("access_key_id", "token@packages", "AWS_CA_BUNDLE"):
        assert word not in told


def large_plan() -> RunPlan:
    return make_plan(inputs=(source(*(f"{number:05d}.png" for number in range(500))),))


def test_a_plan_that_is_too_big_for_one_secret_takes_several(monkeypatch):
    monkeypatch.setattr(manifests, "SECRET_BYTES", 1000)
    secrets = secret_manifests(large_plan(), SECRETS, {}, OWNER)
    assert len(secrets) > 2
    assert [secret["metadata"]["name"] for secret in secrets] == [secret_name(OWNER, n) for n in range(len(secrets))]
    assert [CONFIDENTIAL in secret["data"] for secret in secrets] == [True] + [False] * (len(secrets) - 1)
    pieces = [base64.b64decode(secret["data"][f"{PLAN}.{number:02d}"]) for number, secret in enumerate(secrets)]
    assert max(map(len, pieces)) == 1000
    assert RunPlan.model_validate_json(gzip.decompress(b"".join(pieces))) == large_plan()


def test_the_pieces_are_one_directory_in_the_pod_and_their_names_are_in_order():
    volume = next(volume for volume in pod_of("several_secrets")["volumes"] if volume["name"] == "plan")
    paths = [item["path"] for part in volume["projected"]["sources"] for item in part["secret"]["items"]]
    assert sorted(paths) == [f"{PLAN}.{number:02d}" for number in range(3)]


def test_connections_that_no_environment_can_hold_are_refused():
    with pytest.raises(CapacityError, match="too large for the environment of a pod"):
        secret_manifests(make_plan(), {"store": {"ca_certificate": "x" * 130_000}}, {}, OWNER)


def test_the_largest_plan_that_is_taken_is_named_in_order_too():
    assert sorted(f"{PLAN}.{n:02d}" for n in range(manifests.MOST_SECRETS)) == [
        f"{PLAN}.{n:02d}" for n in range(manifests.MOST_SECRETS)
    ]


def test_a_plan_that_no_secrets_can_hold_is_refused(monkeypatch):
    monkeypatch.setattr(manifests, "SECRET_BYTES", 200)
    monkeypatch.setattr(manifests, "MOST_SECRETS", 3)
    with pytest.raises(CapacityError, match="has too many input objects for Kubernetes: 500 objects") as refused:
        secret_manifests(large_plan(), SECRETS, {}, OWNER)
    assert str(refused.value).endswith("Pack the files of the dataset into archives.")


def test_every_plan_of_a_life_has_its_own_secrets():
    other = {"metadata": {**OWNER["metadata"], "uid": "ffffffff-0000-4000-8000-000000000000"}}
    assert secret_name(OWNER, 0) != secret_name(other, 0)


def test_a_nas_is_mounted_by_its_id_wherever_a_path_is_on_it():
    plan, _, _ = CASES["nas_claim"]
    assert nas_ids(plan) == ["NAS_1"]
    for each in ("stage", "sync", "worker"):
        mounts = {mount["name"]: mount["mountPath"] for mount in container(pod_of("nas_claim"), each)["volumeMounts"]}
        assert mounts["nas-nas-1-61811e80"] == "/makerflow-nas/NAS_1"


@given(st.sets(st.text(min_size=1, max_size=80), min_size=1, max_size=4))
@example({"nas_1", "NAS-1", "nas-1"})
@example({"-", "_"})
@example({"n" * 80, "n" * 79})
def test_every_nas_has_a_volume_of_its_own(ids):
    names = {_volume_name(nas) for nas in ids}
    assert len(names) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name) for name in names)


def test_a_requirements_txt_elsewhere_than_beside_the_entry_point_is_none_of_ours():
    plan = make_plan(entry_point="src/main.py", inputs=(source("src/main.py", "requirements.txt"),))
    job = job_manifest(plan, SITE, 1, OWNER, deadline=None, now=NOW, secrets=1)
    assert [each["name"] for each in job["spec"]["template"]["spec"]["initContainers"]] == ["sync", "stage"]
    assert not any(f"{STORE}" in json.dumps(each) for each in rendered("one_worker"))
