"""`makerflow experiment tensorboard`, where the platform does not run; where it does, the browser tests open it."""

import pytest

from tests.e2e.command_line import CommandLine


@pytest.mark.req("EXP-03")
def test_without_the_platform_the_command_says_how_to_start_it_or_to_look_without_it(cli: CommandLine) -> None:
    cli.json("experiment", "create", "seen")
    ended = cli.run("experiment", "tensorboard", "seen")
    assert ended.code == 2
    assert "makerflow up --detach" in ended.err
    assert "tensorboard --logdir" in ended.err
    assert cli.run("experiment", "tensorboard", "nobody").code == 2
