import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.algorithms import algorithm_directory
from blocks.domain.algorithms import TABULAR, HyperparameterType
from blocks.domain.catalogues import BUILT_IN, CoreType, Framework, Image, load_catalogue
from blocks.domain.errors import InvalidInputError
from blocks.domain.specs import DEFAULT_FLAVOR, DEFAULT_IMAGE, ProvidedAlgorithm, TrainingSpec

CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
OWN = """
flavors:
  - {name: half, vcpus: 0.5, memory_mib: 512}
  - {name: c1m2, vcpus: 1, memory_mib: 1024}
images:
  - name: mine
    framework: PYTORCH
    python_path: /opt/mine/bin/python
    container: registry.example.com/mine:1
"""


def provided(**settings):
    base = {"name": "a", "provided": "tabular", "hyperparameters": {"target": "y"}, "datasets": {"train": "s3://b/t"}}
    return TrainingSpec.model_validate(base | settings)


@pytest.mark.req("COM-07")
def test_the_catalogue_says_what_each_flavor_gives_and_what_each_image_brings():
    flavor = BUILT_IN.flavor("g1c8m32")
    assert (flavor.core_type, flavor.vcpus, flavor.memory_mib, flavor.gpus) == (CoreType.GPU, 8, 32768, 1)
    assert flavor.resources.gpus == 1
    image = BUILT_IN.image("pytorch")
    assert (image.core_type, image.framework, image.framework_version) == (CoreType.CPU, Framework.PYTORCH, "2.13.0")
    assert "torch==2.13.0" in image.run_image.requirements
    assert image.container
    assert BUILT_IN.image("python-3.12").run_image.python == "3.12"


def test_the_defaults_of_a_spec_are_in_the_catalogue():
    assert BUILT_IN.flavors[0].name == DEFAULT_FLAVOR
    assert BUILT_IN.images[0].name == DEFAULT_IMAGE
    assert {algorithm.name for algorithm in BUILT_IN.algorithms} == set(ProvidedAlgorithm) - {ProvidedAlgorithm.OWN}


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        ("requests: {cpu: '50'}", "a pod of the flavor big asks for 50 of cpu and may use 1: correct pod.requests"),
        ("requests: {memory: 3Gi}", "big asks for 3Gi of memory and may use 2048Mi"),
        ("limits: {cpu: 500m}", "big asks for 1 of cpu and may use 500m"),
        ("requests: {nvidia.com/gpu: '1'}", "big asks for 1 of nvidia.com/gpu and may use 0"),
        ("requests: {cpu: half}", "cpu of a pod of the flavor big, 'half', is no quantity"),
        ("limits: {cpu: '-1'}", "cpu of a pod of the flavor big, '-1', is no quantity"),
        ("node_selector: {a b: c}", "pod.node_selector of the flavor big, a b: c, is no label that a node can have"),
        ("node_selector: {/disk: ssd}", "pod.node_selector of the flavor big, /disk: ssd, is no label"),
        ("node_selector: {disk: c d}", "pod.node_selector of the flavor big, disk: c d, is no label"),
    ],
)
def test_a_flavor_whose_pods_kubernetes_would_refuse_is_refused(pod, said):
    text = f"flavors: [{{name: big, vcpus: 1, memory_mib: 2048, pod: {{{pod}}}}}]"
    with pytest.raises(InvalidInputError, match=re.escape(said)):
        load_catalogue(text)


@pytest.mark.parametrize("labels", ["{example.com/disk: ssd}", "{kubernetes.io/hostname: node-1}", "{spot: ''}"])
def test_a_flavor_chooses_nodes_by_labels(labels):
    text = f"flavors: [{{name: big, vcpus: 1, memory_mib: 2048, pod: {{node_selector: {labels}}}}}]"
    assert len(load_catalogue(text).flavor("big").pod.node_selector) == 1


@pytest.mark.parametrize("container", ["Not An Image", "https://registry.example/x:1", "team/Trainer"])
def test_an_image_whose_container_has_no_name_is_refused(container):
    with pytest.raises(InvalidInputError, match=r"images.0.container: .* no name of a container image"):
        load_catalogue(f"images: [{{name: own, container: '{container}'}}]")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("images: [{name: own, conatiner: x}]", "The keys of each of its images are name, core_type, .*, container,"),
        ("flavors: [{name: own, cpus: 1}]", "The keys of each of its flavors are name, core_type, vcpus, memory_mib"),
        ("image: []", "Its keys are 'flavors' and 'images'"),
        ("images: {}", "Its keys are 'flavors' and 'images'"),
    ],
)
def test_of_a_wrong_key_those_are_told_that_there_are(text, keys):
    with pytest.raises(InvalidInputError, match=keys):
        load_catalogue(text)


def test_a_flavor_may_ask_for_less_than_it_gives_and_for_what_only_pods_have():
    pod = "requests: {cpu: 100m, example.com/dongle: '1'}, limits: {memory: 4Gi, example.com/dongle: '1'}"
    text = f"flavors: [{{name: small, vcpus: 1, memory_mib: 2048, pod: {{{pod}}}}}]"
    assert load_catalogue(text).flavor("small").pod.requests["cpu"] == "100m"


@pytest.mark.parametrize("kind", ["flavor", "image", "algorithm"])
def test_an_unknown_name_is_refused_with_those_that_there_are(kind):
    known = BUILT_IN.flavors if kind == "flavor" else BUILT_IN.images if kind == "image" else BUILT_IN.algorithms
    with pytest.raises(InvalidInputError, match="'nothing'") as refused:
        getattr(BUILT_IN, kind)("nothing")
    for item in known:
        assert item.name in str(refused.value)


def test_the_images_pins_are_those_that_we_are_tested_with():
    pins = dict(line.split("==", 1) for line in CONSTRAINTS.read_text().splitlines() if "==" in line)
    ours = {name: {version.split(" ;")[0] for version in _versions(name)} for name in pins}
    for image in BUILT_IN.images:
        for requirement in image.requirements:
            name, version = re.split(r"==| ;", requirement)[:2]
            assert name not in ours or version in ours[name], requirement


def _versions(name):
    return [line.split("==")[1] for line in CONSTRAINTS.read_text().splitlines() if line.startswith(f"{name}==")]


@pytest.mark.req("COM-07")
def test_a_users_own_come_on_top_and_take_the_place_of_ours():
    catalogue = load_catalogue(OWN)
    assert catalogue.flavor("half").vcpus == 0.5
    assert catalogue.flavor("c1m2").memory_mib == 1024
    assert catalogue.image("mine").run_image.python == "/opt/mine/bin/python"
    assert len(catalogue.flavors) == len(BUILT_IN.flavors) + 1
    assert catalogue.algorithms == BUILT_IN.algorithms


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "flavors: []"])
def test_an_empty_file_changes_nothing(text):
    assert load_catalogue(text) == BUILT_IN


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("flavors: [", "flow node"),
        ("flavours: []", "flavours"),
        ("- 1", "the file"),
        ("flavors: [{name: x, vcpus: 0, memory_mib: 1}]", "flavors.0.vcpus"),
        ("images: [{name: x, python_path: bin/python}]", "absolute path"),
        ("images: [{name: x, python_version: '2.7'}]", "python_version"),
        ("images: [{name: a b}]", "images.0.name"),
    ],
)
def test_a_wrong_file_is_refused_where_it_is_wrong(text, why):
    with pytest.raises(InvalidInputError, match=re.escape(why)):
        load_catalogue(text)


def test_an_image_of_another_python_names_it():
    with pytest.raises(ValidationError):
        Image(name="x", python_version="three")
    assert Image(name="x", python_version="3.11").run_image.python == "3.11"


@pytest.mark.req("TRN-02")
def test_a_provided_algorithm_runs_in_its_own_image_unless_another_is_asked_for():
    assert BUILT_IN.image_of(provided()).name == "scikit-learn"
    assert BUILT_IN.image_of(provided(image="pytorch")).name == "pytorch"
    own = TrainingSpec.model_validate({"name": "a", "algorithm": "s3://b/c", "entry_point": "t.py"})
    assert BUILT_IN.image_of(own).name == "python"


@pytest.mark.req("TRN-02", "TRN-20")
def test_the_documented_hyperparameters_are_those_that_the_algorithm_reads():
    documented = (algorithm_directory("tabular") / "train.py").read_text()
    for hyperparameter in TABULAR.hyperparameters:
        row = re.search(rf"^\| {hyperparameter.name} \| (\w+) \| (.*?) \| (.*?) \|", documented, re.MULTILINE)
        assert row, hyperparameter.name
        number = hyperparameter.type in (HyperparameterType.INT, HyperparameterType.DOUBLE)
        assert row[1] == hyperparameter.type if number else row[1] in ("STRING", "CATEGORICAL")
        assert hyperparameter.required == (row[2] == "(needed)")
        if number:
            assert float(row[2]) == float(hyperparameter.default)
            assert tuple(map(float, row[3].split(".."))) == (hyperparameter.minimum, hyperparameter.maximum)
        elif hyperparameter.choices:
            assert row[2] == hyperparameter.default
            assert tuple(row[3].split(", ")) == hyperparameter.choices
    assert len(re.findall(r"^\| \w+ \| [A-Z]+ \|", documented, re.MULTILINE)) == len(TABULAR.hyperparameters)


@pytest.mark.req("TRN-02")
def test_every_default_is_allowed():
    for hyperparameter in TABULAR.hyperparameters:
        if not hyperparameter.required:
            hyperparameter.check(hyperparameter.default)
    TABULAR.check(provided())


@pytest.mark.req("TRN-02")
@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"hyperparameters": {}}, "'target': the provided algorithm tabular needs it"),
        ({"hyperparameters": {"target": ""}}, "allowed is a text"),
        (
            {"hyperparameters": {"target": "y", "lr": 1}},
            "'lr': the provided algorithm tabular has no such hyperparameter",
        ),
        ({"hyperparameters": {"target": "y", "iterations": 0}}, "allowed is a whole number from 1 to 10000"),
        ({"hyperparameters": {"target": "y", "iterations": 1.5}}, "allowed is a whole number from 1 to 10000"),
        ({"hyperparameters": {"target": "y", "learning_rate": "nan"}}, "allowed is a number from 0 to 10"),
        ({"hyperparameters": {"target": "y", "task": "clustering"}}, "one of auto, classification, regression"),
        ({"datasets": {}}, "'train': the provided algorithm tabular needs it"),
        ({"datasets": {"train": "s3://b/t", "validaton": "s3://b/v"}}, "It has: train, validation"),
        ({"workers": 2}, "makes use of 1"),
    ],
)
def test_settings_that_a_provided_algorithm_could_not_run_with_are_refused(settings, why):
    with pytest.raises(InvalidInputError, match=re.escape(why)):
        TABULAR.check(provided(**settings))


def test_the_catalogue_is_json():
    assert json.loads(BUILT_IN.model_dump_json())["images"][0]["name"] == "python"
    json.dumps(BUILT_IN.model_dump(mode="json"), allow_nan=False)
