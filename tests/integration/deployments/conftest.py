"""A workflow server and the runner of all deployments, over a home that the package's tests share."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.connections.platform import open_platform
from blocks.connections.server import prefect_server
from blocks.connections.settings import Settings
from blocks.domain.errors import MakerflowError
from blocks.domain.lifecycle import TrainingStatus
from deployments.catalogue import catalogue
from flows.training import stop_training
from flows.tuning import stop_tuning
from tasks.triggering import DEPLOYMENT, deployment_id
from tests.processes import processes_of
from tests.waiting import wait_until

SECONDS = 120.0


@dataclass
class Runner:
    """The runner's process, which tests end and start again."""

    environment: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "deployments.runner"]
        self.process = subprocess.Popen(command, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL)

    def end(self, number: int = signal.SIGTERM) -> float:
        """Seconds until it was gone."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(SECONDS)
        return time.monotonic() - began


@dataclass(frozen=True)
class Workflows:
    """What a user of the workflow UI has before him."""

    client: SyncPrefectClient
    runner: Runner
    home: Path
    code: Path
    temporary: Path

    def ask(self, deployment: str, **parameters: Any) -> UUID:
        """Ask for a run, as the form does; its id."""
        key = str(uuid4())  # the client asks again where an answer comes too late
        run = run_deployment(f"{deployment}/{DEPLOYMENT}", parameters=parameters, timeout=0, idempotency_key=key)
        assert isinstance(run, FlowRun)
        return run.id

    def train(self, name: str, source: str, **settings: Any) -> UUID:
        """Ask for a training of this source; the id of its flow run."""
        return self.ask("create-training", spec=self.spec(name, source, **settings))

    def spec(self, name: str, source: str, **settings: Any) -> dict[str, Any]:
        """Settings in their groups, as a form gives them."""
        (self.code / f"{name}.py").write_text(source)
        return {"name": name, "algorithm": {"path": f"file://{self.code}", "entry_point": f"{name}.py"}, **settings}

    def is_in(self, run: UUID, *states: StateType) -> bool:
        state = self.client.read_flow_run(run).state
        return state is not None and state.type in states

    def runs_of(self, flow: Flow[..., Any]) -> list[FlowRun]:
        found = FlowRunFilterDeploymentId(any_=[deployment_id(self.client, flow)])
        return self.client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=found))

    @contextmanager
    def platform_runs(self) -> Iterator[None]:
        """Commands on this home find the server, as they find that of `makerflow up`."""
        announced = open_platform().settings.server_file
        announced.parent.mkdir(exist_ok=True)
        announced.write_text(str(PREFECT_API_URL.value()))
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.delenv("MAKERFLOW_PREFECT_API_URL")
                yield
        finally:
            announced.unlink()

    def await_state(self, run: UUID, *states: StateType) -> None:
        wait_until(lambda: self.is_in(run, *states), f"the flow run to be {' or '.join(states)}", SECONDS)

    def await_status(self, name: str, *statuses: TrainingStatus) -> None:
        trainings = open_platform().registry.trainings
        found = [""]

        def reached() -> bool:
            page = [row for row in trainings.page().items if row.name == name]
            found[0] = page[0].status if page else "not there"
            return found[0] in statuses

        wait_until(reached, f"{name} to be {' or '.join(statuses)}", SECONDS)

    def clear(self) -> None:
        """End what a test has left, so that the next finds a runner, every slot free and nothing asked for."""
        if self.runner.process.poll() is not None:
            self.runner.start()
        for deployment in self._deployments():
            for schedule in deployment.schedules:
                self.client.delete_deployment_schedule(deployment.id, schedule.id)
            if deployment.paused:
                self.client.resume_deployment(deployment.id)
        try:
            wait_until(self._is_clear, "what the test has left to end", SECONDS)
        finally:
            self._delete(self._open_runs())

    def _is_clear(self) -> bool:
        runs = self._open_runs()
        self._delete([run for run in runs if run.state and run.state.is_scheduled()])
        overview, always = open_platform().registry.overview, datetime.fromtimestamp(0, UTC)
        under_way = [*overview.tunings_under_way(always), *overview.under_way(always)]
        for row in under_way:
            stop: Callable[[str], object] = stop_tuning if row.kind == "tuning" else stop_training
            with suppress(MakerflowError):  # it ends just now
                stop(row.id)
        return not runs and not under_way

    def _delete(self, runs: list[FlowRun]) -> None:
        for run in runs:
            with suppress(ObjectNotFound):
                self.client.delete_flow_run(run.id)

    def _open_runs(self) -> list[FlowRun]:
        """Those that are asked for or have begun, without the upkeep."""
        deployments = FlowRunFilterDeploymentId(any_=[deployment.id for deployment in self._deployments()])
        unended = FlowRunFilterState(type=FlowRunFilterStateType(not_any_=list(TERMINAL_STATES)))
        return self.client.read_flow_runs(flow_run_filter=FlowRunFilter(deployment_id=deployments, state=unended))

    def _deployments(self) -> list[DeploymentResponse]:
        """All but that of the upkeep, which runs by itself."""
        ours = DeploymentFilter(name=DeploymentFilterName(any_=[DEPLOYMENT]))
        found = self.client.read_deployments(deployment_filter=ours)
        return [deployment for deployment in found if "upkeep" not in deployment.tags]


@pytest.fixture
def workflows(_workflows: Workflows) -> Iterator[Workflows]:
    yield _workflows
    _workflows.clear()


@pytest.fixture(scope="package")
def _workflows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workflows]:
    directory = tmp_path_factory.mktemp("deployments")
    home, code = directory / "home", directory / "code"
    code.mkdir()
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("MAKERFLOW_HOME", str(home))
        api = stack.enter_context(prefect_server(Settings(home=home)))
        patch.setenv("MAKERFLOW_PREFECT_API_URL", api)
        temporary = directory / "tmp"
        temporary.mkdir()
        source = str(Path(__file__).parents[3])
        logging = {"PREFECT_LOGGING_TO_API_ENABLED": "true"}
        runner = Runner({"PREFECT_API_URL": api, "PYTHONPATH": source, "TMPDIR": str(temporary), **logging})
        runner.start()
        stack.callback(runner.end)
        stack.enter_context(temporary_settings(updates={PREFECT_API_URL: api}))
        client = stack.enter_context(get_client(sync_client=True))
        ours = DeploymentFilter(name=DeploymentFilterName(any_=[DEPLOYMENT]))
        wait_until(
            lambda: len(client.read_deployments(deployment_filter=ours)) == len(list(catalogue())), "all", SECONDS
        )
        yield Workflows(client, runner, home, code, temporary)
    assert processes_of(home) == []
