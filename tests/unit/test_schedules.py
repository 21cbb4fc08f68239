"""Which schedules are refused, before anything is asked of a server."""

from pathlib import Path

import pytest

from blocks.domain.errors import InvalidInputError, NotFoundError
from deployments.cli import main
from deployments.schedules import schedule_training

pytestmark = pytest.mark.req("TRN-14")


@pytest.mark.parametrize("cron", ["* * * * * *", "* * * * * 0,30", "0 3 * * * */59", "0 0 1 1 * 7,8"])
def test_a_rule_that_fires_more_often_than_once_a_minute_is_refused_with_the_limit(cron: str) -> None:
    with pytest.raises(InvalidInputError, match=r"more often than once a minute, and that is the limit.*sixth field"):
        schedule_training("none", cron=cron)


@pytest.mark.parametrize("cron", ["* * * * *", "* * * * * 30", "0 0 29 2 *", "@daily", "0 3 1 1 * 0 2060"])
def test_a_rule_of_once_a_minute_or_less_is_taken(cron: str, home: Path) -> None:
    with pytest.raises(NotFoundError):
        schedule_training("none", cron=cron)


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6 *", "0 3 * * * 0 2020"])
def test_a_rule_that_never_fires_is_refused(cron: str) -> None:
    with pytest.raises(InvalidInputError, match="it never fires"):
        schedule_training("none", cron=cron)


LONGEST = "the longest interval is ten years"


@pytest.mark.parametrize(
    ("every", "limit"),
    [
        ("59s", "the shortest interval is a minute"),
        ("3651d", LONGEST),
        ("99999999999999d", LONGEST),
        pytest.param("9" * 400 + "d", LONGEST, id="more than a float holds"),
    ],
)
def test_an_interval_beyond_its_limits_is_refused_with_the_limit(
    every: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.run(["training", "schedule", "none", "--every", every]) == 2
    assert limit in capsys.readouterr().err
