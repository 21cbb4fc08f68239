"""Having a training followed again, or giving it up."""

from uuid import uuid4

import httpx
from prefect.client.schemas.objects import DeploymentStatus
from prefect.exceptions import PrefectException

from blocks.cluster.base import Secrets, Selector
from blocks.connections.client import client_of
from blocks.connections.platform import Platform
from blocks.connections.settings import own_api
from blocks.domain.errors import MakerflowError, NotFoundError
from blocks.domain.lifecycle import TrainingStatus, TrialStatus, TuningStatus
from blocks.domain.plan import RunPhase, RunState
from blocks.registry.records import Training, UnderWay
from blocks.registry.tunings import Followed, TrialMove
from blocks.upkeep.trainings import MOST_ATTEMPTS, WAYS_OF_TUNINGS, WAYS_TO_AN_END
from tasks.detached import start_follower
from tasks.engine import reachable_api
from tasks.log_collection import collect_logs, history_logged
from tasks.mending import NOTHING
from tasks.training import handle_of
from tasks.triggering import DEPLOYMENT
from tasks.tuning import handle_of_trial

RESUME = f"resume-{{kind}}/{DEPLOYMENT}"
"""The deployment that follows a training again, or goes on with a tuning."""

GRACE_SECONDS = 10.0

_CREATING = (TrainingStatus.CREATE_REQUESTED, TrainingStatus.CREATE_IN_PROGRESS)


def elsewhere(platform: Platform, row: UnderWay) -> str:
    """Why nothing can be done here for one that runs on another cluster; empty for others."""
    registry = platform.registry
    rows = registry.tunings if isinstance(row.status, TuningStatus) else registry.trainings
    try:
        refusal = platform.refusal(rows.get(row.id).plan)
    except NotFoundError:  # deleted meanwhile
        refusal = None
    return str(refusal or "")


def take_up(platform: Platform, row: UnderWay) -> str:
    """Have one followed again whose follower died: that counts, until it is given up.

    Raises:
        MakerflowError: The cluster does not answer, or refuses. Every follower would die of that, and it says nothing
            of the workers: it is not followed again now, and that does not count.
    """
    _found(platform, row)
    number = f"for the {row.attempts + 1}. time since it was {row.status.value}" if row.attempts else "again"
    reason = f"Nobody followed it any longer; it is followed {number}."
    return _follow_again(platform, row) if platform.registry.overview.take_up(row, reason) else NOTHING


def go_on(platform: Platform, row: UnderWay) -> str:
    """Have one followed again whose follower was asked to end: however often that is, nothing is wrong with it."""
    reason = "Its follower was asked to end; it is followed again."
    is_as_found = platform.registry.overview.take_up(row, reason, counts=False)
    return _follow_again(platform, row) if is_as_found else NOTHING


def _follow_again(platform: Platform, row: UnderWay) -> str:
    """By the workflow server's runner where there is one, else by a process."""
    api = reachable_api(platform.settings)
    if api and api == own_api(platform.settings) and _resume_by_deployment(api, row):
        return f"followed again, by {RESUME.format(kind=row.kind)}"
    start_follower(row.id)
    return "followed again, by a process of its own"


def give_up(platform: Platform, row: UnderWay) -> str:
    """End what is under way and whose followers die again and again, and say so on its row.

    Where its workers run, it is first followed once more: what the followers died of hours ago may be over.
    """
    reason = (
        f"Upkeep has given it up: its follower died {row.attempts} times while it was {row.status.value}. "
        f"Its log, {platform.settings.home / 'logs' / row.id}.log, and `makerflow doctor` may say why."
    )
    if platform.registry.is_leased(row.id):
        return NOTHING  # somebody follows it again, and upkeep waits for nobody
    if row.attempts == MOST_ATTEMPTS and _runs(platform, row):
        return take_up(platform, row)
    if isinstance(row.status, TuningStatus):
        with platform.registry.lease(row.id), history_logged(platform, row.id):
            return f"given up: {_end_tuning(platform, row.id, row.status, reason)}"
    with platform.registry.lease(row.id), history_logged(platform, row.id):
        training = platform.registry.trainings.get(row.id)
        if training.status is not row.status:
            return NOTHING
        return f"given up: {_end(platform, training, reason)}"


def _found(platform: Platform, row: UnderWay) -> list[RunState]:
    """What the cluster knows of its runs."""
    tuning = isinstance(row.status, TuningStatus)
    return platform.cluster.find(Selector(labels={"tuning": row.id}) if tuning else Selector(run_id=row.id))


def _runs(platform: Platform, row: UnderWay) -> bool:
    """Whether it is to run, and workers of it do."""
    if row.status not in (TrainingStatus.RUNNING, TuningStatus.RUNNING):
        return False
    return any(state.phase is RunPhase.RUNNING for state in _found(platform, row))


def secrets_of(platform: Platform, training: Training) -> Secrets:
    """What the outputs of its run need to be uploaded; as much of it as is known."""
    try:
        return platform.secrets(training.plan) if training.plan is not None else {}
    except MakerflowError:  # a connection was deleted since
        return {}


def _end(platform: Platform, row: Training, reason: str) -> TrainingStatus:
    trainings = platform.registry.trainings
    if row.status in _CREATING and not platform.cluster.find(Selector(run_id=row.id)):
        return trainings.move(row.id, TrainingStatus.CREATE_FAILED, reason).status
    platform.cluster.stop(handle_of(row), GRACE_SECONDS, secrets_of(platform, row))
    collect_logs(platform, row, handle_of(row))
    for status in WAYS_TO_AN_END[row.status]:
        row = trainings.move(row.id, status, reason)
    return row.status


def _end_tuning(platform: Platform, id: str, status: TuningStatus, reason: str) -> str:
    """End the trials that run, and move the tuning to where it rests; it can be resumed."""
    tunings = platform.registry.tunings
    if tunings.status(id) is not status:
        return NOTHING
    for trial in tunings.trials(id):
        if trial.status in (TrialStatus.CREATED, TrialStatus.RUNNING):
            training = platform.registry.trainings.get(trial.training_id)
            platform.cluster.stop(handle_of_trial(trial), GRACE_SECONDS, secrets_of(platform, training))
            collect_logs(platform, training, handle_of_trial(trial))
            ways = (TrainingStatus.STOP_IN_PROGRESS, TrainingStatus.STOPPED)
            tunings.follow(trial, Followed(), TrialMove(TrialStatus.KILLED, reason, training=ways))
    for way in WAYS_OF_TUNINGS[status]:
        tunings.move(id, way, reason)
    return tunings.status(id).value


def _resume_by_deployment(api: str, row: UnderWay) -> bool:
    """Ask the server for a flow run; False when it has no such deployment, or nobody who serves it."""
    try:
        with client_of(api) as client:
            deployment = client.read_deployment_by_name(RESUME.format(kind=row.kind))
            if deployment.status is not DeploymentStatus.READY:
                return False
            client.create_flow_run_from_deployment(
                deployment.id,
                parameters={"key": row.name},
                name=row.name,
                idempotency_key=str(uuid4()),  # the client asks again where an answer is lost
            )
            return True
    except (httpx.HTTPError, PrefectException):
        return False
