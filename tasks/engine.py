"""How flows and steps are run: in Prefect's engine when a server answers, else directly with the same retries.

Without a server a flow run is journaled in the registry; `export_journal` hands the journal to a server later, so that
the runs are still to be seen in its UI.
"""

import inspect
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar, cast

from prefect import Flow, Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_chain, wait_fixed, wait_random

from blocks.connections.client import using
from blocks.connections.server import configured_api, is_healthy
from blocks.connections.settings import Settings, read_settings
from blocks.domain.errors import is_transient
from tasks.export import export_earlier_runs
from tasks.journal import JOURNAL, Journal, failed_state
from tasks.liveness import living

P = ParamSpec("P")
R = TypeVar("R")

RETRY_DELAYS_SECONDS = [1.0, 5.0, 15.0]
RETRY_JITTER = 0.3

logger = logging.getLogger("makerflow")


class Step(Generic[P, R]):
    """A retryable step: a Prefect task under a Prefect flow, the same function with the same retries without one."""

    def __init__(self, prefect_task: Task[P, R]) -> None:
        self.task = prefect_task
        wraps(prefect_task.fn)(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it now."""
        return self.named(self.task.name, *args, **kwargs)

    def named(self, name: str, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it now, and show it under this name."""
        journal = JOURNAL.get()
        if journal is None:
            task = self.task if name == self.task.name else self.task.with_options(task_run_name=name)
            try:
                return cast(R, cast(Any, task)(*args, **kwargs))  # Prefect's overloads lose what a task returns
            finally:
                _forget_results()
        with journal.step(name):
            return retrying(self.task.retries)(self.task.fn, *args, **kwargs)


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
    api = reachable_api(read_settings())
    if api:
        # Our registry knows who lives; Prefect's heartbeat would cost every flow a second.
        with using(api, {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            export_earlier_runs(api)
            return flow(*args, **kwargs)
    return _run_journaled(flow, args, kwargs)


def reachable_api(settings: Settings) -> str:
    """The Prefect API to use when it answers, else an empty string."""
    api = configured_api(settings)
    if not api or is_healthy(api):
        return api
    if settings.prefect_api_url:
        logger.warning("The Prefect server %s does not answer: the run goes on without it and is exported later.", api)
    return ""


def _run_journaled(flow: Flow[P, R], args: Any, kwargs: Any) -> R:
    parameters = flow.validate_parameters(_bind(flow, args, kwargs))
    run = cast(Callable[..., R], flow.fn)
    journal = Journal(flow.name, parameters)
    token = JOURNAL.set(journal)
    state, message = "COMPLETED", ""
    with living(journal.id, journal.begin):
        try:
            result = run(**parameters)
            if isinstance(result, State):
                state, message = result.type.value, result.message or ""
                raise CancelledRun(message)
            return result
        except BaseException as error:
            if state == "COMPLETED":
                state, message = failed_state(error), str(error)
            raise
        finally:
            JOURNAL.reset(token)
            journal.keep(state, message)


def _bind(flow: Flow[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    bound = inspect.signature(flow.fn).bind(*args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def retrying(retries: int = len(RETRY_DELAYS_SECONDS)) -> Retrying:
    """Calls a function, again after each `TransientError`."""
    waits = [wait_fixed(delay) + wait_random(0, delay * RETRY_JITTER) for delay in RETRY_DELAYS_SECONDS]
    return Retrying(
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(retries + 1),
        wait=wait_chain(*waits),
        reraise=True,
    )


def _forget_results() -> None:
    """Let a flow run not grow with its steps: Prefect keeps the state of each of them until the end.

    It does so to draw an arrow where a result is handed to another step. Among ours these are plain values, such as
    ids, of which it keeps few; errors and rows are not.
    """
    context = FlowRunContext.get()
    if context is not None:
        context.task_run_assets.clear()
        for key, (_, _, is_object) in list(context.run_results.items()):
            if is_object is not None:
                context.run_results.pop(key, None)


def _retry_condition(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and is_transient(error)
