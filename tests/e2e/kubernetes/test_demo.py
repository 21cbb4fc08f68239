"""`make demo CLUSTER=kubernetes`, as it is typed."""

import re
from pathlib import Path

import pytest

from tests.contract.test_kubernetes_cluster import objects_in
from tests.e2e.test_demo import DEADLINE_SECONDS, demo
from tests.kubernetes import TestNamespace
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.xdist_group("kubernetes demo"),
    pytest.mark.timeout(DEADLINE_SECONDS + 60),
    pytest.mark.req("COM-01", "COM-07", "TRN-02", "TRN-19", "TRN-20", "TUN-01", "TUN-02", "TUN-08", "TUN-09", "TUN-11"),
]


def test_the_demo_on_a_cluster_trains_two_models_and_tunes_one_and_leaves_nothing_there(
    home: Path, namespace: TestNamespace
) -> None:
    settings = {"CLUSTER": "kubernetes", "NAMESPACE": namespace.name, "IMAGE": namespace.image}
    with demo(home, **{f"MAKERFLOW_{name}": value for name, value in settings.items()}) as process:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == 0, output
    for name in ("digits-tabular", "digits-two-workers", "digits-tuning"):
        assert f"[{name}] COMPLETE" in output
    assert "worker 0 of 2 learns from 718" in output
    statuses = re.findall(r"digits-tuning/\d (SUCCEEDED|EARLY_STOPPED|FAILED)", output)
    assert (len(statuses), statuses.count("FAILED")) == (8, 0), output
    wait_until(lambda: objects_in(namespace.name) == [], "the runs' objects to be gone", 60)
