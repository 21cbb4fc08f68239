"""A training whose output reports no metric, on its run's page."""

import logging
import re
from collections.abc import Iterator

import pytest

from blocks.registry.records import Training
from flows.training import create_training
from tasks import following, metric_watch, page_log
from tests.integration.flows.conftest import MakeSpec

NEARLY = """
import time
for step in range(1, 31):
    print(f"step {step} val loss {1 / step:.2f} <b>`x`</b>", flush=True)
    time.sleep(0.1)
"""


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(record)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Iterator[Records]:
    """The log of a page, as if there were one, of a platform that is impatient."""
    monkeypatch.setattr(following, "has_page", lambda: True)
    monkeypatch.setattr(page_log, "has_page", lambda: True)
    monkeypatch.setattr(following, "FIRST_REPORT_SECONDS", 0.1)
    monkeypatch.setattr(following, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(following, "REPORT_SHARE_OF_TIME", 0)
    monkeypatch.setattr(metric_watch, "WARN_AFTER_SECONDS", 0.3)
    records = Records()
    logger = logging.getLogger("makerflow.page")
    logger.addHandler(records)
    yield records
    logger.removeHandler(records)


@pytest.mark.req("TUN-04")
def test_the_page_is_told_once_which_line_is_nearly_a_metric_and_the_report_too(
    make_spec: MakeSpec, page: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []
    monkeypatch.setattr(following, "publish_report", lambda key, title, report: reports.append(report))
    training = create_training(make_spec(NEARLY))
    assert isinstance(training, Training)

    [warning] = [record for record in page.found if record.levelno == logging.WARNING]
    assert "The closest line: step 1 val loss 1.00" in warning.getMessage()
    assert "metric expression" in warning.getMessage()
    [shown] = {report.partition("## Warning")[2].partition("\n| ")[0] for report in reports if "## Warning" in report}
    assert re.search(r"^      step 1 val loss 1\.00 <b>`x`</b>$", shown, re.MULTILINE)
    assert f"`makerflow metrics test {training.name}` shows why" in reports[-1]


def test_nothing_is_warned_of_when_there_are_metrics(make_spec: MakeSpec, page: Records) -> None:
    create_training(make_spec(NEARLY.replace("loss {", "loss={")))
    assert [record for record in page.found if record.levelno == logging.WARNING] == []
