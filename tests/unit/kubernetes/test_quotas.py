import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.cluster.capacity import Room
from blocks.cluster.kubernetes.quantities import requested
from blocks.cluster.kubernetes.quotas import check_fits
from blocks.domain.errors import CapacityError
from blocks.domain.plan import PodShape
from blocks.domain.quantities import quantity
from tests.unit.kubernetes.plans import make_plan


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2", 2), ("500m", 0.5), ("0.1", 0.1), (".5", 0.5), ("2.", 2), ("0", 0), ("100n", 1e-7), ("3u", 3e-6),
        ("1k", 1000), ("2M", 2e6), ("1e3", 1000), ("1E3", 1000), ("1E", 1e18), ("12e-1", 1.2), ("128Mi", 128 << 20),
        ("2Gi", 2 << 30), ("1.5Ti", 1.5 * 2**40), ("1Pi", 2.0**50), ("1Ei", 2.0**60), ("-1", -1),
    ],
)  # fmt: skip
def test_a_quantity_stands_for_an_amount(text, amount):
    assert quantity(text) == pytest.approx(amount)


@pytest.mark.parametrize("text", ["", ".", "m", "1.2.3", "1ki", "1mi", "1 Gi", "one", "1KiB", "1e"])
def test_what_is_no_quantity_is_none(text):
    assert quantity(text) is None


@given(st.text(max_size=6))
def test_no_text_is_too_odd_to_be_asked(text):
    assert quantity(text) is None or isinstance(quantity(text), float)


def test_what_a_pod_asks_for_is_its_flavor_whole():
    assert requested(make_plan()) == Room(2, 4096)


def test_a_flavor_can_ask_for_another_share():
    assert requested(make_plan(pod=PodShape(requests={"cpu": "90m", "memory": "1Gi"}))) == Room(0.1, 1024 + 64)


@pytest.mark.parametrize(
    "hard",
    [
        {},
        {"requests.cpu": "4", "requests.memory": "8Gi", "pods": "2", "requests.nvidia.com/gpu": "0"},
        {"cpu": "4000m", "memory": "8192Mi", "count/pods": "2"},
        {"services": "1", "count/jobs.batch": "1", "limits.cpu": "what"},
        {"limits.cpu": "4", "limits.memory": "10Gi"},  # with a GiB for each sidecar
    ],
)
def test_what_a_quota_allows_is_not_refused(hard):
    check_fits(make_plan(workers=2), "room", hard)


@pytest.mark.parametrize(
    ("hard", "says"),
    [
        ({"requests.cpu": "3"}, "4 vCPU asked for, 3 vCPU by its quota room available"),
        ({"requests.cpu": "0"}, "4 vCPU asked for, 0 vCPU by its quota room available"),
        ({"cpu": "3900m", "requests.cpu": "8"}, "4 vCPU asked for, 3.9 vCPU by its quota room available"),
        ({"memory": "1Gi"}, "8192 MiB of memory asked for, 1024 MiB of memory by its quota room available"),
        ({"pods": "1"}, "2 pods asked for, 1 pods by its quota room available"),
        ({"limits.cpu": "2"}, "4 vCPU at most asked for, 2 vCPU at most by its quota room available"),
        ({"limits.memory": "9Gi"}, "10240 MiB of memory at most asked for, 9216 MiB of memory at most by its quota"),
        ({"count/jobs.batch": "0"}, "1 Job asked for, 0 Job by its quota room available"),
        ({"services": "0"}, "1 Service asked for, 0 Service by its quota room available"),
    ],
)
def test_what_a_quota_never_allows_is_refused_with_both_amounts(hard, says):
    with pytest.raises(CapacityError, match="The run training-7 can never be placed in this namespace") as refused:
        check_fits(make_plan(workers=2), "room", hard)
    assert says in str(refused.value)
    assert "Use a smaller flavor or fewer workers, or have the quota raised." in str(refused.value)
    assert ("platform's own" in str(refused.value)) is ("limits.memory" in hard)


def test_gpus_are_counted_by_the_name_that_the_flavor_gives_them():
    plan = make_plan(resources={"vcpus": 1, "memory_mib": 64, "gpus": 2}, pod=PodShape(gpu_resource="amd.com/gpu"))
    check_fits(plan, "room", {"requests.nvidia.com/gpu": "0", "requests.amd.com/gpu": "2"})
    with pytest.raises(CapacityError, match="2 GPU asked for, 1 GPU by its quota room"):
        check_fits(plan, "room", {"requests.amd.com/gpu": "1"})
