"""What workers use, on the command line, while a training runs and whatever dies beside it."""

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.specs import ExperimentSpec, TrainingSpec
from blocks.registry.database import open_registry
from tests.e2e.command_line import CommandLine
from tests.waiting import wait_for


def training(cli: CommandLine, code: Path, name: str, *more: str) -> list[str]:
    """A command that trains until it is let go."""
    go = f"go={cli.go(name)}"
    named = ["train", "--name", name, "--algorithm", str(code), "--entry-point", "wait.py", "--hp", go]
    return [*named, *more]


def covered(instance: dict[str, Any]) -> tuple[float, float]:
    """The seconds that the samples of an instance cover, and the time from the first one's beginning to the last."""
    points = instance["points"]
    first, last = (datetime.fromisoformat(points[n]["at"]).timestamp() for n in (0, -1))
    return sum(point["seconds"] for point in points), last - first + points[0]["seconds"]


@pytest.mark.req("COM-08", "TRN-12")
def test_workers_are_watched_through_the_death_of_who_follows_them_and_no_sample_is_lost_or_doubled(
    cli: CommandLine, code: Path
) -> None:
    def sampled(count: int) -> list[dict[str, Any]] | None:
        instances: list[dict[str, Any]] = cli.json("training", "monitor", "watched")["instances"]
        return instances if len(instances) == 2 and all(one["samples"] >= count for one in instances) else None

    with cli.start(*training(cli, code, "watched", "--workers", "2")) as command:
        command.read_until("waiting")
        cli.wait_for_status("watched", "RUNNING")
        before = wait_for(lambda: sampled(1), "the first samples")  # and killed where the block ends
    assert [one["rank"] for one in before] == [0, 1]
    assert {one["status"] for one in before} == {"RUNNING"}
    with cli.start("training", "resume", "watched") as again, cli.start("training", "monitor", "watched", "-f") as live:
        wait_for(lambda: sampled(before[0]["samples"] + 2), "samples after the kill")
        cli.let_go("watched")
        assert again.end().code == 0
        followed = live.end().out

    document = cli.json("training", "monitor", "watched")
    for instance in document["instances"]:
        seconds, span = covered(instance)
        assert seconds == pytest.approx(span, abs=0.5)
        assert instance["status"] == "ENDED"
        assert instance["usage"].keys() >= {"cpu", "memory", "disk"}
        assert instance["usage"]["memory"]["max"] > 1
    assert "worker 1 on" in followed
    assert "SINCE ITS START" in followed
    shown = cli.json("training", "show", "watched")
    least = min(covered(instance)[0] for instance in document["instances"])  # it has started when all have
    assert shown["training_seconds"] >= least - 0.5
    assert [one["samples"] for one in shown["monitoring"]] == [one["samples"] for one in document["instances"]]
    assert (shown["tensorboard"], shown["logs"]) == (
        "makerflow experiment tensorboard default",
        "makerflow training logs watched",
    )

    rows = list(csv.DictReader(io.StringIO(cli.run("training", "monitor", "watched", "--rank", "1", "--csv").out)))
    assert {row["rank"] for row in rows} == {"1"}
    assert len([row for row in rows if row["measure"] == "memory"]) == document["instances"][1]["samples"]
    assert "Memory, MiB" in cli.run("training", "monitor", "watched", "--plot").out
    whose = "" if "MAKERFLOW_CLUSTER" in cli.environment else " by the whole host"  # a pod has a network of its own
    assert f"Network sent{whose}, MiB/s" in cli.run("training", "show", "watched").out
    assert cli.run("training", "monitor", "watched", "--rank", "2").code == 2
    assert cli.run("training", "monitor", "watched", "--csv", "--plot").code == 2


@pytest.mark.req("COM-08", "TUN-12")
@pytest.mark.usefixtures("forked_followers")
def test_of_a_tuning_it_is_told_where_its_trials_run_and_what_they_use_and_of_one_over_time(
    cli: CommandLine, code: Path
) -> None:
    algorithm = ("--algorithm", str(code), "--entry-point", "wait.py", "--hp", f"go={cli.go('searched')}")
    search = ("--param", "x=INT[1,3]", "--strategy", "grid", "--objective", "loss", "--parallel", "2")
    cli.json("tune", "--name", "searched", *algorithm, *search, "--detach")

    def sampled() -> dict[str, Any] | None:
        found = cli.json("tuning", "monitor", "searched")
        both = len(found["trials"]) == 2 and all(trial["instances"] for trial in found["trials"])
        return found if both else None

    document = wait_for(sampled, "samples of two trials")
    [first, second] = document["trials"]
    assert (first["number"], second["name"], document["status"]) == (1, "searched/2", "RUNNING")
    assert first["instances"][0]["usage"].keys() >= {"cpu", "memory", "disk"}
    table = cli.run("tuning", "monitor", "searched").out
    assert "MEMORY MIB" in table
    assert f" {first['instances'][0]['host']} " in table
    refused = cli.run("tuning", "monitor", "searched", "--plot")
    assert (refused.code, "--trial N" in refused.err) == (2, True)
    cli.let_go("searched")
    cli.run("tuning", "resume", "searched")

    over_time = cli.json("tuning", "monitor", "searched", "--trial", "2")
    assert (over_time["name"], over_time["instances"][0]["status"]) == ("searched/2", "ENDED")
    assert over_time["instances"][0]["points"]
    assert over_time["instances"] == cli.json("training", "monitor", "searched/2")["instances"]
    assert "no trial of it runs" in cli.run("tuning", "monitor", "searched").out
    assert cli.json("tuning", "monitor", "searched")["trials"] == []
    assert cli.run("tuning", "monitor", "searched", "--trial", "9").code == 2


@pytest.mark.req("COM-08")
def test_a_training_that_is_being_created_has_no_monitoring_and_says_so(cli: CommandLine) -> None:
    cli.home.mkdir(exist_ok=True)
    with open_registry(f"sqlite:///{cli.home}/registry.db") as registry:
        experiment = registry.experiments.ensure(ExperimentSpec(name="empty"))
        registry.trainings.create(TrainingSpec(name="new", algorithm="s3://b/c", entry_point="t.py"), experiment.id)

    refused = cli.run("training", "monitor", "new")

    assert refused.code == 1
    assert "Cannot monitor training 'new'" in refused.err
    assert "while it is CREATE REQUESTED" in refused.err


def test_a_training_that_ended_before_it_could_be_looked_at_says_so(cli: CommandLine, code: Path) -> None:
    cli.let_go("short")
    assert cli.run(*training(cli, code, "short")).code == 0
    assert cli.json("training", "monitor", "short")["instances"] == []
    assert "ran for long enough" in cli.run("training", "monitor", "short").out
