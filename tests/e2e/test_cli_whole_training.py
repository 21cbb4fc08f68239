"""One training with all that a training can be given, which leaves all that one can leave; and how others end."""

import json
from pathlib import Path
from typing import Any

import pytest

from blocks.domain.specs import TrainingSpec
from deployments.cli.fields import duration_text
from tasks.training import check_access, plan_run, register_training
from tests.e2e.command_line import WAITS, CommandLine
from tests.waiting import wait_until

WHOLE = f"""
import json, os, pathlib, socket, sys, time
from pathlib import Path

rank, workers = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def meet():
    "Worker 0 waits for the others at the address that all were told."
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if rank == 0:
        with socket.create_server(("", place[1])) as server:
            return sorted(server.accept()[0].recv(100).decode() for _ in range(workers - 1))
    while True:
        try:
            with socket.create_connection(place) as connection:
                connection.send(f"rank {{rank}}".encode())
                return []
        except OSError:
            time.sleep(0.05)


def files(name):
    folder = os.environ.get(name)
    return {{f.name: f.read_text() for f in Path(folder).rglob("*") if f.is_file()}} if folder else None


print(json.dumps({{
    "met": meet(),
    "argv": sys.argv[1:],
    "env": {{k: v for k, v in os.environ.items() if k.startswith("EM_HP") or k == "TF_CONFIG"}},
    "absolute": [os.path.isabs(os.environ[f"EM_{{n}}_DIR"]) for n in ("SOURCE", "MODEL", "CHECKPOINT")],
    "data": files("EM_DATASET_TRAIN"),
    "checkpoint": files("EM_CHECKPOINT_INPUT_DIR"),
    "secrets": [k for k in os.environ if "SECRET" in k or k.startswith("AWS_")],
}}), flush=True)
Path(os.environ["EM_TENSORBOARD_LOG_DIR"], f"events.out.tfevents.{{rank}}.of-user").write_text("events")
Path(os.environ["EM_CHECKPOINT_DIR"], f"last-{{rank}}.txt").write_text("step 1")
Path(os.environ["EM_MODEL_DIR"], f"model-{{rank}}.txt").write_text("fitted")
for step in (1, 2):
    print(f"step={{step}} loss={{1 / (step + rank)}}", flush=True)
print("ERROR of rank", rank, file=sys.stderr, flush=True)
{WAITS}
"""


pytestmark = pytest.mark.xdist_group("whole training")


@pytest.fixture(scope="module")
def template(cli: CommandLine, code: Path) -> str:
    """The name of a template that says the most of it."""
    (code / "whole.py").write_text(WHOLE)
    cli.put("data/deep/rows.csv", "1,2")
    cli.put("before/old.txt", "step 0")
    options = ("--entry-point", "whole.py", "--algorithm", str(code), "--hp", "lr=0.5", "--hp", "depth=3")
    paths = ("--dataset", f"train={cli.place('data')}", "--checkpoint-input", cli.place("before"))
    outputs = ("--output", cli.place("out"), "--checkpoint-output", cli.place("checkpoints"))
    limits = ("--max-time", "5m", "--storage-gb", "10", "--workers", "2", "--flavor", "c1m4", "--image", "python")
    cli.json("template", "create", "--name", "base", *options, *paths, *outputs, *limits, "--tag", "team=vision")
    return "base"


@pytest.fixture(scope="module")
def whole(cli: CommandLine, template: str) -> dict[str, Any]:
    """Its document, when it is over; what is to be seen while it runs was seen."""
    own = ("--hp", "lr=0.1", "--hp", f"go={cli.go('whole')}", "--experiment", "e1", "--log-management")
    with cli.start("train", "--from-template", template, "--name", "whole", *own, "--json") as command:
        command.read_until("RUNNING", error=True)
        uploaded = ("checkpoints/last-0.txt", "checkpoints/worker-1/last-1.txt")
        wait_until(lambda: all(cli.read(name) == "step 1" for name in uploaded), "checkpoints while it runs")
        assert cli.read("out/model-0.txt") is None
        assert cli.json("training", "show", "whole")["status"] == "RUNNING"
        refused = cli.run("training", "delete", "whole", "--yes")
        assert (refused.code, "makerflow training stop whole" in refused.err) == (1, True)
        cli.let_go("whole")
        ended = command.end()
    assert ended.code == 0, ended
    return ended.document


@pytest.mark.req("TRN-01", "TRN-05", "TRN-08", "TRN-11", "TRN-12", "EXP-03")
def test_it_is_complete_and_what_it_left_is_where_it_was_asked_for(cli: CommandLine, whole: dict[str, Any]) -> None:
    assert (whole["status"], whole["template"]["name"], whole["tags"]) == ("COMPLETE", "base", {"team": "vision"})
    assert (whole["spec"]["instances"]["workers"], whole["spec"]["instances"]["flavor"]) == (2, "c1m4")
    assert (cli.read("out/model-0.txt"), cli.read("out/worker-1/model-1.txt")) == ("fitted", "fitted")
    assert whole["metrics"]["loss"]["last"] == 0.5
    assert len(list((cli.home / "tensorboard").rglob("*.of-user"))) == 2
    shown = cli.json("training", "show", "whole")
    assert [move["target"] for move in shown["history"]] == [
        "CREATE REQUESTED", "CREATE IN PROGRESS", "RUNNING", "COMPLETE IN PROGRESS", "COMPLETE",
    ]  # fmt: skip
    [listed] = cli.json("training", "list", "--name", "whole")["items"]
    assert listed["training_seconds"] > 0
    shown = cli.run("training", "list").out
    rounded = {duration_text(listed["training_seconds"] + difference) for difference in (-0.001, 0.0, 0.001)}
    assert any(text in shown for text in rounded)  # the document's is rounded already


@pytest.mark.req("TRN-04", "TRN-06", "TRN-07", "TRN-18", "TRN-19", "ENV-01")
@pytest.mark.parametrize("rank", [0, 1])
def test_each_worker_was_given_all_of_it(cli: CommandLine, whole: dict[str, Any], rank: int) -> None:
    lines = cli.run("training", "logs", "whole", "--rank", str(rank)).out.splitlines()
    given = json.loads(next(line for line in lines if line.startswith('{"met"')))
    assert given["met"] == (["rank 1"] if rank == 0 else [])
    pairs = zip(given["argv"][::2], given["argv"][1::2], strict=True)
    assert dict(pairs) == {"--lr": "0.1", "--depth": "3", "--go": cli.go("whole")}
    assert (given["env"]["EM_HP_LR"], json.loads(given["env"]["EM_HPS"])["depth"]) == ("0.1", "3")
    cluster = json.loads(given["env"]["TF_CONFIG"])
    assert (len(cluster["cluster"]["worker"]), cluster["task"]) == (2, {"type": "worker", "index": rank})
    assert (given["data"], given["checkpoint"]) == ({"rows.csv": "1,2"}, {"old.txt": "step 0"})
    assert (given["absolute"], given["secrets"]) == ([True] * 3, [])


@pytest.mark.req("TRN-10", "LOG-01", "LOG-02")
def test_what_each_worker_printed_is_in_the_log_store_with_its_fields(cli: CommandLine, whole: dict[str, Any]) -> None:
    for rank in (0, 1):
        query = rf'category:"easymaker.training" AND logType:"NHNCloud\-AIEasyMaker" AND rank:{rank}'
        items = cli.json("logs", "search", f"{query} AND trainingId:{whole['id']} AND (loss OR ERROR)")["items"]
        assert [item["body"].split()[0] for item in items] == ["step=1", "step=2", "ERROR"]
        assert [item["logLevel"] for item in items] == ["INFO", "INFO", "ERROR"]
        assert items[0].keys() >= {"easymakerAppKey", "category", "logLevel", "body", "logType", "time", "trainingId"}
    told = [item["body"] for item in cli.json("logs", "search", "trainingName:whole AND COMPLETE")["items"]]
    assert any(body.startswith("COMPLETE") for body in told)


@pytest.mark.req("TRN-07", "TRN-09", "TRN-14")
def test_a_copy_goes_on_from_its_checkpoints_and_is_ended_when_its_time_is_over(
    cli: CommandLine, whole: dict[str, Any]
) -> None:
    other = ("--checkpoint-input", cli.place("checkpoints"), "--workers", "1", "--hp", f"go={cli.go('never')}")
    ended = cli.json("training", "copy", "whole", "--name", "again", *other, "--max-time", "3s", code=1)
    assert (ended["status"], ended["spec"]["instances"]["workers"]) == ("FAIL TRAIN", 1)
    assert "time limit" in ended["reason"]
    assert '"old.txt"' not in (printed := cli.run("training", "logs", "again").out)
    assert '"last-0.txt": "step 1"' in printed
    shown = cli.json("training", "show", "again")
    assert 2 < shown["training_seconds"] < 30
    [*_, told] = cli.json("logs", "search", "trainingName:again AND FAIL AND logLevel:ERROR")["items"]
    assert "time limit" in told["body"]
    assert cli.json("training", "delete", "again", "--yes")["deleted"] is True


@pytest.mark.req("TRN-03")
def test_requirements_that_cannot_be_installed_fail_it_with_the_installers_message(cli: CommandLine) -> None:
    cli.put("broken/train.py", "print('never')")
    cli.put("broken/requirements.txt", "./no-such-package.whl\n")
    own = ("--name", "broken", "--algorithm", cli.place("broken"), "--entry-point", "train.py")
    ended = cli.json("train", *own, code=1)
    assert ended["status"] == "FAIL TRAIN"
    assert "no-such-package.whl" in ended["reason"]


@pytest.mark.req("TRN-17")
def test_data_that_changed_after_it_was_planned_fails_it_with_the_path(
    cli: CommandLine, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.put("changing/rows.csv", "1,2")
    for name, value in {"MAKERFLOW_HOME": str(cli.home), **cli.environment}.items():
        monkeypatch.setenv(name, value)
    asked = {"name": "changed", "algorithm": f"file://{code}", "entry_point": "fail.py"}
    spec = TrainingSpec.model_validate(asked | {"datasets": {"train": cli.place("changing")}})
    id = register_training.task.fn(spec, "changed")
    for step in (check_access, plan_run):
        step.task.fn(id)
    cli.put("changing/rows.csv", "3,4,5")
    ended = cli.json("training", "resume", "changed", code=1)
    assert ended["status"] == "FAIL TRAIN"
    assert "changing/rows.csv" in ended["reason"]
