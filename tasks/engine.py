"""How flows and steps are run: in Prefect's engine when a server answers, else directly with the same retries.

Without a server a flow run is journaled in the registry (what ran, when, how it ended, its report); `export_journal`
hands the journal to a server later, so that the runs are still to be seen in its UI.
"""

import inspect
import logging
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, cast

import httpx
from prefect import Flow, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, PrefectException
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from pydantic import BaseModel
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed, wait_random

from blocks.connections.platform import open_platform
from blocks.connections.server import configured_api, is_healthy
from blocks.connections.settings import Settings
from blocks.domain.errors import TransientError, is_transient
from blocks.registry.records import FlowRunRecord, StepRecord
from tasks.export import export_journal

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS_SECONDS = [1.0, 5.0, 15.0]
RETRY_JITTER = 0.3

logger = logging.getLogger("makerflow")


class Journal:
    """One flow run without a server."""

    def __init__(self, flow_name: str, parameters: dict[str, Any]) -> None:
        self.id = str(uuid.uuid4())
        self._flow_name = flow_name
        self._parameters = {name: _plain(value) for name, value in parameters.items()}
        self._began = datetime.now(UTC)
        self._steps: list[StepRecord] = []
        self.artifacts: dict[str, tuple[str, str]] = {}

    def step(self, prefect_task: Task[..., Any], args: Any, kwargs: Any) -> Any:
        """Run one step with the retries that its Prefect task has."""
        began = datetime.now(UTC)
        state, message = "COMPLETED", ""
        try:
            return _retrying(prefect_task.retries)(prefect_task.fn, *args, **kwargs)
        except BaseException as error:
            state, message = "CANCELLED" if isinstance(error, CancelledRun) else "FAILED", str(error)
            raise
        finally:
            self._steps.append(
                StepRecord(name=prefect_task.name, state=state, message=message, started=began, ended=datetime.now(UTC))
            )

    def record(self, state: str, message: str) -> FlowRunRecord:
        """What is kept of the run."""
        return FlowRunRecord(
            id=self.id,
            flow_name=self._flow_name,
            name=str(self._parameters.get("key") or (self._parameters.get("spec") or {}).get("name") or self.id[:8]),
            parameters=self._parameters,
            state=state,
            message=message,
            started=self._began,
            ended=datetime.now(UTC),
            steps=tuple(self._steps),
            artifacts=self.artifacts,
        )


_JOURNAL: ContextVar[Journal | None] = ContextVar("journal", default=None)


class Step(Generic[P, R]):
    """A retryable step: a Prefect task under a Prefect flow, the same function with the same retries without one."""

    def __init__(self, prefect_task: Task[P, R]) -> None:
        self.task = prefect_task
        wraps(prefect_task.fn)(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it now."""
        journal = _JOURNAL.get()
        if journal is not None:
            return cast(R, journal.step(self.task, args, kwargs))
        return cast(R, cast(Any, self.task)(*args, **kwargs))  # Prefect's overloads lose what a task returns


def step(name: str) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function a step. Only a `TransientError` is retried; its effects must be keyed by the resource's id."""

    def decorate(fn: Callable[P, R]) -> Step[P, R]:
        return Step(
            task(
                name=name,
                retries=len(RETRY_DELAYS_SECONDS),
                retry_delay_seconds=RETRY_DELAYS_SECONDS,
                retry_jitter_factor=RETRY_JITTER,
                retry_condition_fn=_retry_condition,
                cache_policy=NO_CACHE,
                persist_result=False,
            )(fn)
        )

    return decorate


def run_flow(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow in this process.

    Raises:
        CancelledRun: The flow ended as cancelled.
        Exception: What the flow raised.
    """
    if FlowRunContext.get() is not None:
        return flow(*args, **kwargs)
    api = reachable_api(Settings())
    if api:
        # Our registry knows who lives; Prefect's heartbeat would cost every flow a second.
        with temporary_settings(updates={PREFECT_API_URL: api, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            _export_earlier_runs(api)
            return flow(*args, **kwargs)
    return _run_journaled(flow, args, kwargs)


def run_key() -> str:
    """The identity of the current flow run: the same when the run is retried."""
    journal = _JOURNAL.get()
    if journal is not None:
        return journal.id
    run = _server_run()
    return str(run.id) if run else str(uuid.uuid4())


def has_page() -> bool:
    """Whether the current flow run has a page that somebody can look at while it goes on."""
    return _server_run() is not None


def cancel_requested() -> bool:
    """Whether somebody cancelled the current flow run in the workflow UI.

    A run without a runner gets no signal, so whoever follows something long asks now and then.
    """
    run = _server_run()
    if run is None:
        return False
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run.id).state
    except (httpx.HTTPError, PrefectException):
        return False  # a server that restarts, or somebody who deletes the flow run, cancels nothing
    return state is not None and (state.is_cancelling() or state.is_cancelled())


def publish_report(key: str, description: str, markdown: str) -> None:
    """Show `markdown` on the run's page, replacing what was shown under this key."""
    journal = _JOURNAL.get()
    if journal is not None:
        journal.artifacts[key] = (description, markdown)
        return
    run = _server_run()
    if run is None:
        return
    try:
        _publish(str(run.id), key, description, markdown)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("The report could not be shown in the workflow UI: %s", error)


def reachable_api(settings: Settings) -> str:
    """The Prefect API to use when it answers, else an empty string."""
    api = configured_api(settings)
    if not api or is_healthy(api):
        return api
    if settings.prefect_api_url:
        logger.warning("The Prefect server %s does not answer: the run goes on without it and is exported later.", api)
    return ""


def _server_run() -> FlowRun | None:
    context = FlowRunContext.get()
    return context.flow_run if context is not None and _JOURNAL.get() is None else None


def _run_journaled(flow: Flow[P, R], args: Any, kwargs: Any) -> R:
    parameters = flow.validate_parameters(_bind(flow, args, kwargs))
    run = cast(Callable[..., R], flow.fn)
    journal = Journal(flow.name, parameters)
    token = _JOURNAL.set(journal)
    state, message = "COMPLETED", ""
    try:
        result = run(**parameters)
        if isinstance(result, State):
            state, message = result.type.value, result.message or ""
            raise CancelledRun(message)
        return result
    except BaseException as error:
        if state == "COMPLETED":
            state, message = "CANCELLED" if isinstance(error, CancelledRun) else "FAILED", str(error)
        raise
    finally:
        _JOURNAL.reset(token)
        _keep(journal.record(state, message))


def _export_earlier_runs(api: str) -> None:
    try:
        export_journal(api)
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("Earlier runs could not be added to the workflow UI and will be later: %s", error)


def _keep(record: FlowRunRecord) -> None:
    try:
        open_platform().registry.flow_runs.record(record)
    except TransientError as error:  # the run itself went as it went
        logger.warning("The run of %s could not be journaled and will not be seen in the UI: %s", record.name, error)


def _bind(flow: Flow[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    bound = inspect.signature(flow.fn).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _retrying(retries: int) -> Retrying:
    waits = [wait_fixed(delay) + wait_random(0, delay * RETRY_JITTER) for delay in RETRY_DELAYS_SECONDS]
    return Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(retries + 1),
        wait=wait_chain(*waits),
        reraise=True,
    )


def _retry_condition(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)


_ARTIFACTS: dict[tuple[str, str], str] = {}


def _publish(flow_run_id: str, key: str, description: str, markdown: str) -> None:
    from prefect.artifacts import create_markdown_artifact
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import ArtifactUpdate

    known = _ARTIFACTS.get((flow_run_id, key))
    if known is None:
        created = create_markdown_artifact(markdown, key=key, description=description)
        _ARTIFACTS[(flow_run_id, key)] = str(created)
        return
    with get_client(sync_client=True) as client:
        client.update_artifact(uuid.UUID(known), ArtifactUpdate(data=markdown, description=description))


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
