"""From a training's settings to the plan of its run: pure, so that both kinds of cluster get the same plan."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from blocks.domain.catalogues import Catalogue
from blocks.domain.errors import CapacityError, InputMissingError, InvalidInputError
from blocks.domain.paths import StoragePath
from blocks.domain.plan import InputKind, LogPolicy, PlannedInput, PlannedOutput, RunPlan
from blocks.domain.specs import ProvidedAlgorithm, TrainingSettings, TrainingSpec

PROVIDED_ENTRY_POINT = "train.py"
REQUIREMENTS = "requirements.txt"


def entry_point_of(spec: TrainingSpec) -> str:
    """The file that is run, relative to the source."""
    own = spec.algorithm.provided is ProvidedAlgorithm.OWN
    return spec.algorithm.entry_point if own else PROVIDED_ENTRY_POINT


def check_entry_point(source: PlannedInput, entry_point: str) -> None:
    """Refuse a source that does not hold the entry point.

    Raises:
        InputMissingError: It says which Python files are there instead.
    """
    keys = [found.key for found in source.objects]
    if entry_point in keys:
        return
    scripts = ", ".join(key for key in keys if key.endswith(".py"))[:500] or "no Python file"
    raise InputMissingError(f"{source.path}/{entry_point}", f"it is not in the algorithm, which holds {scripts}")


def check_outputs(spec: TrainingSettings) -> None:
    """Refuse an output path that shares a folder with the algorithm or a dataset.

    Raises:
        InvalidInputError: It names both.
    """
    inputs = {f"the dataset {dataset.name}": dataset.path for dataset in spec.inputs.datasets}
    if spec.algorithm.path:
        inputs["the algorithm"] = spec.algorithm.path
    outputs = {"--output": spec.outputs.path, "--checkpoint-output": spec.outputs.checkpoint}
    for option, output in ((option, StoragePath.parse(path)) for option, path in outputs.items() if path):
        for what, source in ((what, StoragePath.parse(path)) for what, path in inputs.items()):
            if output.holds(source) or source.holds(output):
                why = f"it shares its folder with {what} ({source}), so it would become an input of the next training"
                raise InvalidInputError(f"{option} {output}", why, "Give a folder of its own.")


def check_storage_size(inputs: Sequence[PlannedInput], storage_gb: int) -> None:
    """Refuse objects that do not fit the data storage.

    Raises:
        CapacityError: It says both sizes.
    """
    staged = [i for i in inputs if StoragePath.parse(i.path).is_object_store]
    total = sum(found.size for planned in staged for found in planned.objects)
    if total > storage_gb * 10**9:
        raise CapacityError(
            "The inputs do not fit the data storage",
            f"{total / 10**9:.1f} GB",
            f"{storage_gb} GB",
            "Raise the data-storage size (--storage-gb), at most 2,040 GB, or use less data.",
        )


def training_plan(
    run_id: str,
    spec: TrainingSpec,
    *,
    place: str,
    created: datetime,
    labels: dict[str, str],
    catalogue: Catalogue,
    inputs: Sequence[PlannedInput],
    outputs: Sequence[PlannedOutput],
) -> RunPlan:
    """The plan of one training's run.

    Raises:
        InputMissingError: The entry point is not in the source.
        CapacityError: The inputs do not fit the data storage.
        InvalidInputError: The catalogue has no such image or flavor.
    """
    entry_point = entry_point_of(spec)
    check_entry_point(next(i for i in inputs if i.kind is InputKind.SOURCE), entry_point)
    check_storage_size(inputs, spec.limits.storage_gb)
    hyperparameters = {pair.name: pair.value for pair in spec.algorithm.hyperparameters}
    flavor = catalogue.flavor(spec.instances.flavor)
    return RunPlan(
        run_id=run_id,
        place=place,
        created=created,
        labels=labels,
        workers=spec.instances.workers,
        resources=flavor.resources,
        pod=flavor.pod,
        image=catalogue.image_of(spec).run_image,
        entry_point=entry_point,
        hyperparameters=hyperparameters,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        storage_mib=spec.limits.storage_gb * 10**9 // 2**20,
        time_limit_seconds=spec.limits.max_minutes * 60,
        logs=LogPolicy(kept=spec.limits.log_management),
    )


def trial_plan(
    base: RunPlan,
    *,
    run_id: str,
    created: datetime,
    labels: Mapping[str, str],
    point: Mapping[str, str],
    outputs: Sequence[PlannedOutput],
) -> RunPlan:
    """The plan of one trial's run: what all trials of its tuning have in common, with its own point.

    Args:
        base: What they have in common; its inputs are planned once for all of them.
        run_id: Of the trial's training.
        created: When the trial was made, by which runs queue.
        labels: Its own, beside those of the tuning.
        point: The values of the parameters.
        outputs: Where what it makes goes.
    """
    return base.model_copy(
        update={
            "run_id": run_id,
            "created": created,
            "labels": {**base.labels, **labels},
            "hyperparameters": {**base.hyperparameters, **point},
            "outputs": tuple(outputs),
        }
    )
