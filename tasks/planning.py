"""From a training's settings to the plan of its run: what it reads, and where what it makes goes."""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from blocks.algorithms import algorithm_directory
from blocks.connections.platform import Platform
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, OutputKind, PlannedInput, PlannedOutput
from blocks.domain.planning import check_entry_point, entry_point_of, training_plan
from blocks.domain.specs import ProvidedAlgorithm, TrainingSpec
from blocks.domain.templates import TemplateUse, named_by
from blocks.registry.records import Training
from blocks.storage.base import Rights
from blocks.upkeep.runs import REGISTRY
from blocks.upkeep.scratch import mark_owner

LOGS = "makerflow-logs"
"""The folder beside the output that holds each worker's output."""


_SETTINGS = {
    InputKind.SOURCE: "algorithm",
    InputKind.DATASET: "datasets.{name}",
    InputKind.CHECKPOINT: "checkpoint_input",
}


def check_paths(platform: Platform, spec: TrainingSpec, template: TemplateUse | None = None) -> None:
    """Prove that every input can be read and every output written, and that the entry point is there.

    Raises:
        PermanentError: What is missing; a TemplateOutdatedError when the template names it.
    """
    for kind, name, path in _input_places(spec):
        with named_by(template, _SETTINGS[kind].format(name=name)):
            platform.storage(path).check(path, Rights.READ)
        if kind is InputKind.SOURCE:
            with named_by(template, "entry_point", "algorithm"):
                check_entry_point(_planned_input(platform, kind, "", path), entry_point_of(spec))
    for setting, text in (("output", spec.outputs.path), ("checkpoint_output", spec.outputs.checkpoint)):
        if text:
            path = StoragePath.parse(text)
            with named_by(template, setting):
                platform.storage(path).check(path, Rights.WRITE)


def keep_plan(platform: Platform, row: Training, *, replace: bool = False) -> None:
    """Plan the run and keep the plan on the row; the first one stays unless it is to be replaced.

    Raises:
        PermanentError: An input is missing, does not fit or cannot be staged.
    """
    inputs = [_planned_input(platform, *place) for place in _input_places(row.spec)]
    with ExitStack() as claims:  # what is found free stays so until the plan that claims it is kept
        for claim in sorted({_claim_of(place) for place in _places(platform, row)}):
            claims.enter_context(platform.registry.lease(claim))
        plan = training_plan(
            row.id,
            row.spec,
            created=row.created,
            labels={
                "training": row.id,
                "name": row.name,
                "experiment": row.experiment_id,
                REGISTRY: platform.registry.id,
            },
            catalogue=platform.catalogue,
            inputs=inputs,
            outputs=_planned_outputs(platform, row),
        )
        platform.registry.trainings.keep_plan(row.id, plan, replace=replace)
    mark_owner(events_directory(platform, row).parent, platform.registry.id)


def events_directory(platform: Platform, row: Training) -> Path:
    """Where its experiment's TensorBoard finds it."""
    return platform.settings.home / "tensorboard" / row.experiment_id / row.name


def _input_places(spec: TrainingSpec) -> list[tuple[InputKind, str, StoragePath]]:
    own = spec.algorithm.provided is ProvidedAlgorithm.OWN
    source = spec.algorithm.path if own else f"file://{algorithm_directory(spec.algorithm.provided)}"
    places = [(InputKind.SOURCE, "", source)]
    places += [(InputKind.DATASET, dataset.name, dataset.path) for dataset in spec.inputs.datasets]
    if spec.inputs.checkpoint:
        places.append((InputKind.CHECKPOINT, "", spec.inputs.checkpoint))
    return [(kind, name, StoragePath.parse(path)) for kind, name, path in places]


def _planned_input(platform: Platform, kind: InputKind, name: str, path: StoragePath) -> PlannedInput:
    return PlannedInput(
        kind=kind,
        name=name,
        path=str(path),
        connection=platform.connection_name(path),
        objects=tuple(platform.storage(path).plan(path)),
    )


def _places(platform: Platform, row: Training) -> tuple[StoragePath, StoragePath]:
    """Where the model and the checkpoints are to go."""
    spec, own = row.spec.outputs, f"file://{platform.settings.home}/outputs/{row.name}"
    return StoragePath.parse(spec.path or f"{own}/model"), StoragePath.parse(spec.checkpoint or f"{own}/checkpoints")


def _free_place(platform: Platform, row: Training, place: StoragePath) -> StoragePath:
    """The place itself when nobody else's files are there or to come; else a folder of the training's own in it."""
    taken = platform.registry.trainings.is_claimed(str(place), by_other_than=row.id)
    return place / row.id if taken or not platform.storage(place).is_empty(place) else place


def _planned_outputs(platform: Platform, row: Training) -> Sequence[PlannedOutput]:
    model, checkpoint = (_free_place(platform, row, place) for place in _places(platform, row))
    places = {
        OutputKind.MODEL: model,
        OutputKind.CHECKPOINT: checkpoint,
        OutputKind.TENSORBOARD: StoragePath.parse(f"file://{events_directory(platform, row)}"),
        OutputKind.LOG: model / LOGS,
    }
    return [
        PlannedOutput(kind=kind, path=str(place), connection=platform.connection_name(place))
        for kind, place in places.items()
    ]


def _claim_of(place: StoragePath) -> str:
    return f"output-{hashlib.sha256(str(place).encode()).hexdigest()[:32]}"
