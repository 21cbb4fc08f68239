"""Many trainings that are asked for at once, as the forms of many people would."""

from pathlib import Path

import pytest

from tests.e2e.browser.whole_platform import WholePlatform
from tests.processes import processes_of
from tests.waiting import wait_for


@pytest.mark.req("COM-04")
@pytest.mark.parametrize("many", [6, pytest.param(20, marks=pytest.mark.soak)])
def test_all_of_many_trainings_complete_without_one_error(platform: WholePlatform, code: Path, many: int) -> None:
    deployment = platform.deployment("create-training")
    (code / "may-end").touch()
    runs = [ask_for(platform, deployment, f"one-of-{many}-{number}", code) for number in range(many)]

    def states() -> list[str] | None:
        found = platform.post("/flow_runs/filter", {"flow_runs": {"id": {"any_": runs}}})
        ended = [
            run["state"]["type"] for run in found if run["state"]["type"] not in {"SCHEDULED", "PENDING", "RUNNING"}
        ]
        return ended if len(ended) == many else None

    assert set(wait_for(states, f"{many} trainings to end", seconds=20 * many)) == {"COMPLETED"}
    rows = platform.cli.json("training", "list", "--limit", "100")["items"]
    assert [row["status"] for row in rows if row["name"].startswith(f"one-of-{many}-")] == ["COMPLETE"] * many
    assert processes_of(platform.home) == []


def ask_for(platform: WholePlatform, deployment: str, name: str, code: Path) -> str:
    """The id of the flow run of a training."""
    algorithm = {
        "path": f"file://{code}",
        "entry_point": "train.py",
        "hyperparameters": [{"name": "lr", "value": "0.5"}, {"name": "go", "value": str(code / "may-end")}],
    }
    asked = {"parameters": {"spec": {"name": name, "experiment": "many", "algorithm": algorithm}}}
    return str(platform.post(f"/deployments/{deployment}/create_flow_run", asked)["id"])
