"""Asking the runner of `makerflow up` for a run of a lifecycle flow, as the form in the workflow UI does."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from inspect import signature
from typing import Any, ParamSpec
from uuid import UUID, uuid4

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentFlowRunCreate
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Scheduled, to_state_create
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_exponential

from blocks.connections.client import asking_once, client_of
from blocks.connections.server import ANSWER_SECONDS, configured_api, is_healthy, wait_for_api
from blocks.connections.settings import Settings, own_api, read_settings
from blocks.domain.errors import WorkflowServerUnavailableError
from blocks.locks import is_locked

DEPLOYMENT = "makerflow"
"""What the deployment of each flow is called: `create-training/makerflow`."""

PATIENCE_SECONDS = 30.0
"""So long one that runs on this home may take to answer, as it does while many flow runs start."""

_UNTIL_STARTED = timedelta(minutes=1)
"""When a run starts that was asked for in two steps, should whoever asks take longer, or die between them."""

P = ParamSpec("P")

logger = logging.getLogger("makerflow")


def trigger(flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> UUID:
    """Ask for a run of a flow with these parameters, and do not wait for it; the flow run's id.

    Raises:
        WorkflowServerUnavailableError: No server answers, or it has no deployment of this flow.
    """
    with workflow_client() as client:
        return _ask(client, flow, _parameters(flow, *args, **kwargs), Scheduled())


@contextmanager
def handed_over(flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> Iterator[str]:
    """Let the runner of this home go on with what the block begins.

    Yields:
        The key of the flow run that starts when the block ends, at the latest after a minute, and never when it raises
        before, save where a warning says so; empty where `makerflow up` does not run on this home.
    """
    api = _own_api(read_settings())
    if not api:
        yield ""
        return
    later: State[Any] = Scheduled(scheduled_time=datetime.now(UTC) + _UNTIL_STARTED)
    with client_of(api) as client:
        run = _ask(client, flow, _parameters(flow, *args, **kwargs), later)
        try:
            yield str(run)
        except BaseException:
            _withdraw(client, run)
            raise
        with suppress(httpx.HTTPError, ObjectNotFound):  # it starts by itself, or somebody has deleted it
            _unless_begun(client, run, partial(client.set_flow_run_state, state=Scheduled(), force=True))


@contextmanager
def workflow_client() -> Iterator[SyncPrefectClient]:
    """A client of the workflow server that is in use.

    Raises:
        WorkflowServerUnavailableError: None answers, or it ceases to.
    """
    settings = read_settings()
    api = configured_api(settings)
    if not api or not _answers(settings, api):
        raise WorkflowServerUnavailableError(api or f"of {settings.home}", _why_silent(settings, api))
    try:
        with client_of(api) as client:
            yield client
    except httpx.TransportError as error:
        raise WorkflowServerUnavailableError(api, f"it no longer answers ({error!r})") from error


def deployment_id(client: SyncPrefectClient, flow: Flow[..., Any]) -> UUID:
    """The deployment of a flow.

    Raises:
        WorkflowServerUnavailableError: The server has none.
    """
    try:
        return client.read_deployment_by_name(f"{flow.name}/{DEPLOYMENT}").id
    except ObjectNotFound as error:
        why = f"it has no deployment {flow.name}/{DEPLOYMENT}; `makerflow up` and `prefect deploy --all` make it"
        raise WorkflowServerUnavailableError(str(client.api_url), why) from error


def _withdraw(client: SyncPrefectClient, run: UUID) -> None:
    """Delete a flow run that is not to start; that it could not be is told beside what went wrong, not in its place."""
    try:
        with suppress(ObjectNotFound):  # deleted, and the answer was lost
            _unless_begun(client, run, client.delete_flow_run)
    except (httpx.HTTPError, PrefectException) as error:
        told = "The flow run %s could not be withdrawn and may start within a minute; delete it in the workflow UI: %s"
        logger.warning(told, run, error)


def _unless_begun(client: SyncPrefectClient, run: UUID, act: Callable[[UUID], object]) -> None:
    """Act on a flow run that the runner has not begun, which it does by itself when the block takes long.

    What a busy server refuses, or has done and not said, is looked at anew and tried again: SQLite refuses at once to
    write what was read before somebody else wrote. A server that has gone is asked once.

    Raises:
        httpx.HTTPError: It has gone, or is busy for long.
        ObjectNotFound: There is no such flow run any more.
    """

    def look_and_act() -> None:
        state = client.read_flow_run(run).state
        if state is not None and state.is_scheduled():
            act(run)

    again = retry_if_exception(_may_pass)
    pauses = wait_exponential(0.1, max=2)
    with asking_once():
        Retrying(retry=again, stop=stop_after_delay(PATIENCE_SECONDS), wait=pauses, reraise=True)(look_and_act)


def _may_pass(error: BaseException) -> bool:
    """Whether a server that is there may answer when it is asked again."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)


def _answers(settings: Settings, api: str) -> bool:
    if settings.prefect_api_url or not is_locked(settings.server_file):
        return is_healthy(api)
    with suppress(WorkflowServerUnavailableError):
        wait_for_api(api, PATIENCE_SECONDS)
        return True
    return False


def _why_silent(settings: Settings, api: str) -> str:
    """Who runs on this home holds the lock: it is not to be started once more."""
    if settings.prefect_api_url:
        return f"it gave no answer within {ANSWER_SECONDS} s"
    if not is_locked(settings.server_file):
        return "it does not run; start it by `makerflow up --detach`"
    if not api:
        return "it is just starting; `makerflow status` tells when it is up"
    return f"it runs, but gave no answer within {PATIENCE_SECONDS:.0f} s; `makerflow status` shows its parts"


def _own_api(settings: Settings) -> str:
    """The API of `makerflow up` on this home, whose runner has this home's registry, when it is in use and answers."""
    own = own_api(settings)
    return own if own and own == configured_api(settings) and is_healthy(own) else ""


def _ask(client: SyncPrefectClient, flow: Flow[..., Any], parameters: dict[str, Any], when: State[Any]) -> UUID:
    # The flow has checked them; the form's menus, by which the server would, may be older than the catalogue.
    asked = DeploymentFlowRunCreate(
        parameters=parameters,
        state=to_state_create(when),
        enforce_parameter_schema=False,
        idempotency_key=str(uuid4()),  # the client asks again where an answer did not come, or too late
    )
    answer = client.request(
        "POST",
        "/deployments/{id}/create_flow_run",
        path_params={"id": deployment_id(client, flow)},
        json=asked.model_dump(mode="json", exclude_unset=True),
    )
    return UUID(answer.json()["id"])


def _parameters(flow: Flow[P, Any], *args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
    bound = signature(flow.fn).bind(*args, **kwargs)
    return flow.serialize_parameters(flow.validate_parameters(dict(bound.arguments)))
