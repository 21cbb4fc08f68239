"""Trainings on a schedule: a new one with the same settings each time, under a name of its own."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any

import tasks  # noqa: F401 - gives Prefect its home, before it is imported

# isort: split
from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from pydantic import ValidationError

from blocks.connections.platform import open_platform
from blocks.domain.errors import InvalidInputError, NotFoundError
from deployments.scheduled_runs import drop, due_runs, plan_runs
from flows.training import create_training_flow
from tasks.triggering import deployment_id, workflow_client

LEAST_SECONDS = 60.0
MOST_SECONDS = 3650 * 86400.0
CRON_FORM = "minute, hour, day of the month, month, day of the week: '0 3 * * *' is each night at three"


@dataclass(frozen=True)
class TrainingSchedule:
    """When trainings of some settings are created.

    Attributes:
        id: Of the schedule.
        name: The training's whose settings they are; also what the schedule is called, which of those made in the UI
            several can be.
        cron: The rule, in `timezone`; empty when it is an interval.
        every_seconds: The interval; 0 when it is a rule.
        timezone: Name of a time zone.
        active: Whether it is, which can be changed in the UI.
    """

    id: str
    name: str
    cron: str
    every_seconds: float
    timezone: str
    active: bool


def schedule_training(key: str, *, cron: str = "", every_seconds: float = 0, timezone: str = "") -> TrainingSchedule:
    """Create a training with the settings that another, by name or id, has now: each time that the schedule says so.

    Takes the place of the schedule that was made so before; those made in the UI of the same settings stay.

    Args:
        key: The training.
        cron: The rule; like an interval, at most once a minute.
        every_seconds: Or an interval, between a minute and ten years.
        timezone: Name of a time zone; this machine's when not given.

    Raises:
        InvalidInputError: There is not one of both, or it is wrong.
        WorkflowServerUnavailableError: No server runs.
    """
    when = _when(cron, every_seconds, timezone or _local_timezone())
    row = open_platform().registry.trainings.get(key)
    parameters = {"spec": row.current_spec.model_dump(mode="json")}
    with workflow_client() as client:
        deployment = deployment_id(client, create_training_flow)
        earlier = _called(row.name, client.read_deployment_schedules(deployment))
        if earlier is None:
            wanted = DeploymentScheduleCreate(schedule=when, parameters=parameters, slug=row.name)
            [made] = client.create_deployment_schedules(deployment, [wanted])
            plan_runs(client, deployment)
            return _shown(made)
        client.update_deployment_schedule(deployment, earlier.id, active=True, schedule=when, parameters=parameters)
        plan_runs(client, deployment)
        return _shown(earlier.model_copy(update={"schedule": when, "parameters": parameters, "active": True}))


def training_schedules() -> list[TrainingSchedule]:
    """Every schedule on which trainings are created, those made in the UI as well.

    Raises:
        WorkflowServerUnavailableError: No server runs.
    """
    with workflow_client() as client:
        deployment = deployment_id(client, create_training_flow)
        return [_shown(found) for found in client.read_deployment_schedules(deployment)]


def unschedule_training(name: str) -> int:
    """End the schedule of this name or id; trainings that it created stay.

    Returns:
        How many flow runs were dropped whose time had come, and which had not begun.

    Raises:
        NotFoundError: There is none.
        InvalidInputError: Several that were made in the UI have this name.
        WorkflowServerUnavailableError: No server runs.
    """
    with workflow_client() as client:
        deployment = deployment_id(client, create_training_flow)
        found = _meant(name, client.read_deployment_schedules(deployment))
        due = due_runs(client, deployment, found.id)
        client.delete_deployment_schedule(deployment, found.id)
        return sum(drop(client, run) for run in due)


def _when(cron: str, every_seconds: float, timezone: str) -> CronSchedule | IntervalSchedule:
    if bool(cron) == bool(every_seconds):
        raise InvalidInputError("A schedule", "it needs a rule or an interval, one of both", "Give --cron or --every.")
    if every_seconds and not LEAST_SECONDS <= every_seconds <= MOST_SECONDS:
        limit = "shortest interval is a minute" if every_seconds < LEAST_SECONDS else "longest interval is ten years"
        told = f"{every_seconds / 86400:g} days" if every_seconds >= 86400 else f"{every_seconds:g} s"
        raise InvalidInputError(f"every {told}", f"the {limit}", "E.g. --every 1d.")
    try:
        if not cron:
            return IntervalSchedule(interval=timedelta(seconds=every_seconds), timezone=timezone)
        rule = CronSchedule(cron=cron, timezone=timezone)
    except ValidationError as error:
        wrong = {detail["loc"][0] for detail in error.errors()}
        if "timezone" in wrong:
            why = "there is none of this name"
            raise InvalidInputError(f"timezone {timezone!r}", why, "Write e.g. Asia/Tokyo.") from error
        raise InvalidInputError(f"cron {cron!r}", "it is no such rule", f"Write {CRON_FORM}.") from error
    _check_times(cron)
    return rule


def _check_times(cron: str) -> None:
    """A sixth field holds seconds: of two in a minute, the next three times show it."""
    times = list(islice(_times(cron), 3))
    if not times:
        raise InvalidInputError(f"cron {cron!r}", "it never fires, for no such day comes", f"Write {CRON_FORM}.")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    if any(gap.total_seconds() < LEAST_SECONDS for gap in gaps):
        why = "it fires more often than once a minute, and that is the limit"
        remedy = f"Leave out the sixth field, the seconds, or give one second there. The others are {CRON_FORM}."
        raise InvalidInputError(f"cron {cron!r}", why, remedy)


def _times(cron: str) -> Iterator[datetime]:
    """When it fires, as far as croniter looks ahead: fifty years."""
    with suppress(CroniterBadDateError):
        yield from croniter(cron, datetime.now(UTC), ret_type=datetime)  # type: ignore[no-untyped-call]


def _local_timezone() -> str:
    import tzlocal

    return tzlocal.get_localzone_name()


def _called(name: str, schedules: Sequence[DeploymentSchedule]) -> DeploymentSchedule | None:
    """The one that `schedule_training` has made of this name."""
    return next((schedule for schedule in schedules if schedule.slug == name), None)


def _meant(name: str, schedules: Sequence[DeploymentSchedule]) -> DeploymentSchedule:
    """The one that somebody means by a name or an id."""
    ours = _called(name, schedules)
    found = [ours] if ours else [one for one in schedules if name in (str(one.id), _name(one))]
    if not found:
        raise NotFoundError("schedule", name)
    if len(found) > 1:
        ids = ", ".join(str(one.id) for one in found)
        raise InvalidInputError(
            f"schedule {name!r}", f"{len(found)} made in the workflow UI have it", f"Give one's id: {ids}."
        )
    return found[0]


def _name(schedule: DeploymentSchedule) -> str:
    spec: dict[str, Any] = schedule.parameters.get("spec") or {}
    return schedule.slug or str(spec.get("name") or schedule.id)


def _shown(found: DeploymentSchedule) -> TrainingSchedule:
    rule = found.schedule
    return TrainingSchedule(
        id=str(found.id),
        name=_name(found),
        cron=getattr(rule, "cron", "") or getattr(rule, "rrule", ""),
        every_seconds=rule.interval.total_seconds() if isinstance(rule, IntervalSchedule) else 0,
        timezone=getattr(rule, "timezone", None) or "UTC",
        active=found.active,
    )
