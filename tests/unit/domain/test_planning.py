import pytest

from blocks.domain.errors import CapacityError, InvalidInputError
from blocks.domain.plan import InputKind, PlannedInput, PlannedObject
from blocks.domain.planning import check_outputs, check_storage_size
from blocks.domain.specs import TrainingSpec


def input_of(path: str, *sizes: int) -> PlannedInput:
    objects = tuple(PlannedObject(key=f"{n}", path=f"{path}/{n}", size=size, etag="e") for n, size in enumerate(sizes))
    return PlannedInput(kind=InputKind.DATASET, name="train", path=path, objects=objects)


@pytest.mark.req("TRN-09")
def test_inputs_larger_than_the_data_storage_are_refused_with_both_sizes() -> None:
    inputs = [input_of("s3://b/a", 10**9, 10**9), input_of("s3://b/b", 10**9)]
    check_storage_size(inputs, 3)
    with pytest.raises(CapacityError, match=r"3\.0 GB asked for, 2 GB available.*--storage-gb"):
        check_storage_size(inputs, 2)


@pytest.mark.req("TRN-09")
def test_inputs_that_no_store_has_to_send_need_no_data_storage() -> None:
    check_storage_size([input_of("file:///data", 10**12), input_of("nas://id:/data", 10**12)], 1)


@pytest.mark.parametrize("output", ["s3://b/code", "s3://b/code/out", "s3://b", "s3://b/data/x"])
@pytest.mark.parametrize("kind", ["output", "checkpoint_output"])
def test_an_output_that_would_become_an_input_of_the_next_training_is_refused(kind: str, output: str) -> None:
    settings = {"name": "t", "algorithm": "s3://b/code", "entry_point": "t.py", "datasets": {"d": "s3://b/data"}}
    check_outputs(TrainingSpec.model_validate(settings | {kind: "s3://b/code-out"}))
    with pytest.raises(InvalidInputError, match="input of the next training"):
        check_outputs(TrainingSpec.model_validate(settings | {kind: output}))
