"""Every lifecycle action as a deployment of the workflow server: one list for the runner and for `prefect.yaml`."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prefect import Flow

from flows.experiment import (
    change_experiment_flow,
    create_experiment_flow,
    delete_experiment_flow,
    retry_experiment_flow,
)
from flows.template import change_template_flow, copy_template_flow, create_template_flow, delete_template_flow
from flows.training import (
    change_training_flow,
    copy_training_flow,
    create_training_flow,
    create_training_from_template_flow,
    delete_training_flow,
    resume_training_flow,
    stop_training_flow,
)
from flows.tuning import (
    change_tuning_flow,
    copy_tuning_flow,
    create_tuning_flow,
    create_tuning_from_template_flow,
    delete_tuning_flow,
    resume_tuning_flow,
    stop_tuning_flow,
)
from flows.upkeep import upkeep_flow
from tasks.triggering import DEPLOYMENT

UPKEEP_EVERY = timedelta(minutes=5)

_EXPERIMENTS: tuple[Flow[..., Any], ...] = (
    create_experiment_flow,
    retry_experiment_flow,
    change_experiment_flow,
    delete_experiment_flow,
)
_TRAININGS: tuple[Flow[..., Any], ...] = (
    create_training_flow,
    create_training_from_template_flow,
    resume_training_flow,
    stop_training_flow,
    copy_training_flow,
    change_training_flow,
    delete_training_flow,
)
_TUNINGS: tuple[Flow[..., Any], ...] = (
    create_tuning_flow,
    create_tuning_from_template_flow,
    resume_tuning_flow,
    stop_tuning_flow,
    copy_tuning_flow,
    change_tuning_flow,
    delete_tuning_flow,
)
_TEMPLATES: tuple[Flow[..., Any], ...] = (
    create_template_flow,
    change_template_flow,
    copy_template_flow,
    delete_template_flow,
)


@dataclass(frozen=True)
class CatalogueEntry:
    """A flow and how it is shown.

    Attributes:
        flow: What runs.
        resource: What kind of thing it is about: a tag, by which the UI can filter.
        every: How often it runs by itself from its first registration on; None for never.
    """

    flow: Flow[..., Any]
    resource: str
    every: timedelta | None = None

    @property
    def name(self) -> str:
        """How it is called on the server, by the UI and by `run_deployment`."""
        return f"{self.flow.name}/{DEPLOYMENT}"

    @property
    def description(self) -> str:
        """What it does; what its parameters are is said in its form."""
        return (self.flow.description or "").partition("\n\nArgs:")[0].strip()

    @property
    def tags(self) -> list[str]:
        """By which the UI can filter."""
        return [DEPLOYMENT, self.resource]

    @property
    def entrypoint(self) -> str:
        """Where any process that has the package installed finds the flow."""
        return f"{self.flow.fn.__module__}.{self.flow.fn.__name__}"


def catalogue() -> Iterator[CatalogueEntry]:
    """All of them."""
    for flow in _EXPERIMENTS:
        yield CatalogueEntry(flow, "experiment")
    for flow in _TRAININGS:
        yield CatalogueEntry(flow, "training")
    for flow in _TUNINGS:
        yield CatalogueEntry(flow, "tuning")
    for flow in _TEMPLATES:
        yield CatalogueEntry(flow, "template")
    yield CatalogueEntry(upkeep_flow, "upkeep", every=UPKEEP_EVERY)


@cache
def product_version() -> str:
    """The version of every deployment."""
    try:
        return version("makerflow")
    except PackageNotFoundError:
        return "0"
