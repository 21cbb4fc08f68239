"""The report's part about what workers use."""

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.domain.usage import UsageKind
from blocks.registry.database import Registry, open_registry
from blocks.registry.records import Training
from tasks.monitoring_report import DRAWN_WORKERS, monitoring_report
from tasks.report import training_report
from tests.contract.registry_monitoring_contract import usage_of

CPU, MEMORY, DISK, NETWORK = UsageKind.CPU, UsageKind.MEMORY, UsageKind.DISK, UsageKind.NETWORK_SENT


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(f"sqlite:///{tmp_path}/registry.db") as opened:
        yield opened


@pytest.fixture
def training(registry: Registry) -> Training:
    experiment = registry.experiments.ensure(ExperimentSpec(name="e"))
    return registry.trainings.create(TrainingSpec(name="t", algorithm="s3://b/c", entry_point="t.py"), experiment.id)


def watched(registry: Registry, training: Training, samples: int, workers: int = 1, host: str = "vm") -> None:
    """Store samples; the memory grows, nothing is sent."""
    used = [{CPU: 50.0, MEMORY: 100.0 + n, DISK: 1.0, NETWORK: 0.0} for n in range(samples)]
    usage = [usage_of(n, [values] * workers, host=host) for n, values in enumerate(used, 1)]
    registry.trainings.follow(training.id, usage=usage)


def pictures(report: str) -> dict[str, ElementTree.Element]:
    """Each picture of a report by its title."""
    found = re.findall(r"!\[(.*)\]\(data:image/svg\+xml;base64,([^)]*)\)", report)
    return {re.sub(r"\\(.)", r"\1", title): ElementTree.fromstring(base64.b64decode(data)) for title, data in found}  # noqa: S314 - our own pictures


@pytest.mark.req("COM-08")
def test_the_report_has_one_picture_a_kind_with_a_line_for_each_worker(registry: Registry, training: Training) -> None:
    watched(registry, training, 20, workers=3)

    report = training_report(training, registry)

    drawn = pictures(report)
    assert list(drawn) == ["CPU, % of the flavor's vCPUs", "Memory, MiB", "Disk, MiB"]  # nothing was sent
    lines = [element for element in drawn["Memory, MiB"].iter() if "line reactive" in element.get("class", "")]
    assert len(lines) == 3
    assert r"Network sent by the whole host\, MiB\/s | 0 | 0 | 0 |" in report
    assert "| 2 | vm | Memory" in report


def test_without_samples_there_is_nothing_to_report(registry: Registry, training: Training) -> None:
    assert monitoring_report(training, registry.monitoring) == ""


def test_a_hosts_name_is_text_and_never_markup(registry: Registry, training: Training) -> None:
    watched(registry, training, 1, host="![x](http://example.com/x.png)")

    assert r"\!\[x\]\(http\:\/\/example\.com" in monitoring_report(training, registry.monitoring)


def test_however_many_workers_and_samples_there_are_a_report_is_drawn_quickly_and_stays_small(
    registry: Registry, training: Training
) -> None:
    watched(registry, training, 150, workers=32)
    monitoring_report(training, registry.monitoring)  # which imports pygal

    began = time.thread_time()
    again = monitoring_report(training, registry.monitoring)

    assert time.thread_time() - began < 5
    assert len(again) < 400_000
    legend = "".join(pictures(again)["Memory, MiB"].itertext())
    assert f"worker {DRAWN_WORKERS - 1}" in legend
    assert f"worker {DRAWN_WORKERS}" not in legend
    assert "All 32 workers" in again


@pytest.mark.req("TRN-12")
def test_the_report_says_where_tensorboard_and_the_logs_are(registry: Registry, training: Training) -> None:
    report = training_report(training, registry)

    assert f"](/tensorboard/{training.experiment_id}/)" in report
    assert "`makerflow experiment tensorboard e`" in report
    assert "`makerflow training logs t`" in report
