"""From a training's settings to the plan of its run: what it reads, and where what it makes goes."""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path

from blocks.algorithms import algorithm_directory
from blocks.connections.platform import Platform
from blocks.domain.errors import InvalidInputError, PermanentError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, OutputKind, PlannedInput, PlannedOutput, RunPlan
from blocks.domain.planning import check_entry_point, entry_point_of, training_plan, trial_plan
from blocks.domain.specs import ProvidedAlgorithm, TrainingSpec
from blocks.domain.templates import TemplateUse, named_by
from blocks.registry.records import LearnedTrial, Training, TrainingSummary, Trial, Tuning, TuningSummary
from blocks.storage import transfer
from blocks.storage.base import Rights
from blocks.upkeep.runs import REGISTRY
from blocks.upkeep.scratch import mark_owner

_TUNING = "tuning"

logger = logging.getLogger("makerflow")

LOGS = "makerflow-logs"
"""The folder beside the output that holds each worker's output."""

EVENTS = "makerflow-tensorboard"
"""The same of what workers write for TensorBoard, where they cannot write to where it is shown from."""

SOURCE = "makerflow-source"
"""The same of an algorithm that only this machine can read."""

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
    with ExitStack() as claims:  # what is found free stays so until the plan that claims it is kept
        for claim in sorted({_claim_of(place) for place in _places(platform, row)}):
            claims.enter_context(platform.registry.lease(claim))
        outputs = _planned_outputs(platform, row)
        inputs = [_planned_input(platform, *place) for place in _reached(platform, row.spec, outputs)]
        plan = training_plan(
            row.id,
            row.spec,
            place=platform.cluster.place,
            created=row.created,
            labels={
                "training": row.id,
                "name": row.name,
                "experiment": row.experiment_id,
                REGISTRY: platform.registry.id,
            },
            catalogue=platform.catalogue,
            inputs=inputs,
            outputs=outputs,
        )
        platform.registry.trainings.keep_plan(row.id, plan, replace=replace)
    mark_owner(events_directory(platform, row).parent, platform.registry.id)


def keep_tuning_plan(platform: Platform, row: Tuning, learned: Sequence[LearnedTrial]) -> Tuning:
    """Plan what all trials have in common and keep it, with what the tuning learns from; what was kept first stays.

    Raises:
        PermanentError: An input is missing, does not fit or cannot be staged.
    """
    spec = row.spec.training_spec(row.spec.first_point(), 0)
    outputs = [
        PlannedOutput(kind=kind, path=str(place), connection=platform.connection_name(place))
        for kind, place in _tuning_places(platform, row).items()
    ]
    inputs = [_planned_input(platform, *place) for place in _reached(platform, spec, outputs)]
    plan = training_plan(
        row.id,
        spec,
        place=platform.cluster.place,
        created=row.created,
        labels={"tuning": row.id, "experiment": row.experiment_id, REGISTRY: platform.registry.id},
        catalogue=platform.catalogue,
        inputs=inputs,
        outputs=outputs,
    )
    fixed = {pair.name: pair.value for pair in row.spec.algorithm.hyperparameters}
    kept = platform.registry.tunings.keep_plan(row.id, plan.model_copy(update={"hyperparameters": fixed}), learned)
    mark_owner(events_of_tuning(platform, row).parent, platform.registry.id)
    return kept


def plan_of_trial(platform: Platform, tuning: Tuning, trial: Trial) -> RunPlan:
    """The plan of a trial's run.

    Args:
        platform: Where its events go.
        tuning: Planned.
        trial: One of its trials.
    """
    assert tuning.plan is not None  # noqa: S101 - for the type checker: no trial is made before the plan is kept
    model, checkpoints = (trial_folders(tuning, trial, kind)[-1] for kind in (OutputKind.MODEL, OutputKind.CHECKPOINT))
    places = {
        OutputKind.MODEL: model if tuning.spec.outputs.path else model / "model",
        OutputKind.CHECKPOINT: checkpoints if tuning.spec.outputs.checkpoint else checkpoints / "checkpoints",
    }
    places[OutputKind.TENSORBOARD] = _events_place(
        platform, events_of_tuning(platform, tuning) / str(trial.number), places[OutputKind.MODEL]
    )
    outputs = {
        kind: PlannedOutput(kind=kind, path=str(place), connection=platform.connection_name(place))
        for kind, place in places.items()
    }
    outputs[OutputKind.LOG] = outputs[OutputKind.MODEL].model_copy(
        update={"kind": OutputKind.LOG, "path": str(places[OutputKind.MODEL] / LOGS)}
    )
    name = f"{tuning.name}/{trial.number}"
    return trial_plan(
        tuning.plan,
        run_id=trial.training_id,
        created=trial.created if trial.runs == 1 else trial.changed,
        labels={"training": trial.training_id, "trial": str(trial.number), "name": name},
        point=trial.parameters,
        outputs=tuple(outputs.values()),
    )


def trial_folders(tuning: Tuning, trial: Trial, kind: OutputKind) -> list[StoragePath]:
    """The folders for what a trial makes, one for each time that it was run: `17`, `17.2`, ..."""
    outputs = tuning.plan.outputs if tuning.plan else ()
    root = StoragePath.parse(next(output.path for output in outputs if output.kind is kind))
    return [root / (str(trial.number) if run == 1 else f"{trial.number}.{run}") for run in range(1, trial.runs + 1)]


def events_directory(platform: Platform, row: TrainingSummary) -> Path:
    """Where its experiment's TensorBoard finds it."""
    folder = f"{_TUNING} {row.name}" if row.tuning_id else row.name
    return platform.settings.home / "tensorboard" / row.experiment_id / folder


def events_of_tuning(platform: Platform, row: TuningSummary) -> Path:
    """The same of all trials of a tuning; no training's directory can be called so."""
    return platform.settings.home / "tensorboard" / row.experiment_id / f"{_TUNING} {row.name}"


def _input_places(spec: TrainingSpec) -> list[tuple[InputKind, str, StoragePath]]:
    own = spec.algorithm.provided is ProvidedAlgorithm.OWN
    source = spec.algorithm.path if own else f"file://{algorithm_directory(spec.algorithm.provided)}"
    places = [(InputKind.SOURCE, "", source)]
    places += [(InputKind.DATASET, dataset.name, dataset.path) for dataset in spec.inputs.datasets]
    if spec.inputs.checkpoint:
        places.append((InputKind.CHECKPOINT, "", spec.inputs.checkpoint))
    return [(kind, name, StoragePath.parse(path)) for kind, name, path in places]


def _reached(
    platform: Platform, spec: TrainingSpec, outputs: Sequence[PlannedOutput]
) -> list[tuple[InputKind, str, StoragePath]]:
    """The inputs where workers can read them: an algorithm that is on this machine alone goes beside the output."""
    model = next(StoragePath.parse(output.path) for output in outputs if output.kind is OutputKind.MODEL)
    places = []
    for kind, name, path in _input_places(spec):
        reached = path
        if not platform.cluster.reaches(path):
            reached = model / SOURCE
            transfer.copy(path, reached, platform.storage, recursive=True, overwrite=True)
        places.append((kind, name, reached))
    return places


def check_reach(platform: Platform, spec: TrainingSpec) -> None:
    """Refuse paths that workers cannot reach, but for an algorithm, which is brought to where they can.

    Raises:
        InvalidInputError: It names the first; or what brings it there is not set.
    """
    platform.check_image()
    inputs = [(kind, path) for kind, _, path in _input_places(spec) if kind is not InputKind.SOURCE]
    named = [(f"The {kind} {path}", path) for kind, path in inputs]
    named += [
        (f"The output {path}", StoragePath.parse(path)) for path in (spec.outputs.path, spec.outputs.checkpoint) if path
    ]
    for what, path in named:
        if not platform.cluster.reaches(path):
            remedy = "Put it into an object store, or on a NAS that MAKERFLOW_NAS_VOLUMES names."
            raise InvalidInputError(what, "the workers, which are pods of a cluster, cannot reach it", remedy)
    if not (spec.outputs.path and spec.outputs.checkpoint):
        _ = platform.own_place


def _events_place(platform: Platform, directory: Path, model: StoragePath) -> StoragePath:
    """Where workers bring what they write for TensorBoard: where it is shown from, or else beside the model."""
    here = StoragePath.parse(f"file://{directory}")
    return here if platform.cluster.reaches(here) else model / EVENTS


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
    spec = row.spec.outputs
    model, checkpoints = (
        StoragePath.parse(path) if path else platform.own_place / row.name / folder
        for path, folder in ((spec.path, "model"), (spec.checkpoint, "checkpoints"))
    )
    return model, checkpoints


def _free_place(platform: Platform, row: Training, place: StoragePath) -> StoragePath:
    """The place itself when nobody else's files are there or to come; else a folder of the training's own in it."""
    taken = platform.registry.trainings.is_claimed(str(place), by_other_than=row.id)
    return place if not taken and _is_free(platform, row, place) else place / row.id


def _is_free(platform: Platform, row: Training, place: StoragePath) -> bool:
    """Whether nobody's files are there, but the algorithm that was brought when its own creation failed."""
    storage = platform.storage(place)
    if storage.is_empty(place):
        return True
    if row.plan is None or all(output.path != str(place) for output in row.plan.outputs):
        return False
    with suppress(PermanentError):  # it may write there, and not look
        return {entry.key.rstrip("/") for entry in islice(storage.entries(place), 2)} == {SOURCE}
    return False


def _planned_outputs(platform: Platform, row: Training) -> Sequence[PlannedOutput]:
    model, checkpoint = (_free_place(platform, row, place) for place in _places(platform, row))
    places = {
        OutputKind.MODEL: model,
        OutputKind.CHECKPOINT: checkpoint,
        OutputKind.TENSORBOARD: _events_place(platform, events_directory(platform, row), model),
        OutputKind.LOG: model / LOGS,
    }
    return [
        PlannedOutput(kind=kind, path=str(place), connection=platform.connection_name(place))
        for kind, place in places.items()
    ]


def _tuning_places(platform: Platform, row: Tuning) -> dict[OutputKind, StoragePath]:
    """The folders that those of the trials are in: the tuning's own, or one of its id where others' files are."""
    spec = row.spec.outputs
    roots = {OutputKind.MODEL: spec.path, OutputKind.CHECKPOINT: spec.checkpoint}
    places = {
        kind: (StoragePath.parse(path) if path else platform.own_place) / row.name for kind, path in roots.items()
    }
    free = {kind: platform.storage(place).is_empty(place) for kind, place in places.items()}
    return {kind: place if free[kind] else place / row.id for kind, place in places.items()}


def _claim_of(place: StoragePath) -> str:
    return f"output-{hashlib.sha256(str(place).encode()).hexdigest()[:32]}"
