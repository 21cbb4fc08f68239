import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from threadpoolctl import threadpool_limits

from blocks.algorithms import ENTRY_POINT, algorithm_directory
from blocks.algorithms.tabular.settings import BOUNDS, CHOICES, Settings
from blocks.algorithms.tabular.train import main
from blocks.domain.algorithms import TABULAR
from blocks.domain.metrics import MetricReader

ESTIMATORS = ("gradient_boosting", "random_forest", "linear", "neural_network")


@dataclass
class Algorithm:
    """The algorithm in this process, which saves the second that its imports take."""

    folder: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def __post_init__(self) -> None:
        for name in ("train", "validation", "model", "checkpoints"):
            (self.folder / name).mkdir()

    def run(self, *, environment: Mapping[str, str] | None = None, **hyperparameters: Any) -> tuple[int, str]:
        """The exit code and the output."""
        for name, value in (self.environment | dict(environment or {})).items():
            self.patch.setenv(name, value)
        self.patch.setattr(sys, "argv", [ENTRY_POINT, *arguments(hyperparameters)])
        self.capture.readouterr()
        with threadpool_limits(1):
            code = main()
        return code, "".join(self.capture.readouterr())

    @property
    def environment(self) -> dict[str, str]:
        names = {"EM_MODEL_DIR": "model", "EM_CHECKPOINT_DIR": "checkpoints", "EM_DATASET_TRAIN": "train"}
        if any((self.folder / "validation").iterdir()):
            names["EM_DATASET_VALIDATION"] = "validation"
        return {name: str(self.folder / place) for name, place in names.items()}

    def train(self, **hyperparameters: Any) -> list[dict[str, float]]:
        """The metrics of each iteration."""
        code, output = self.run(**hyperparameters)
        assert code == 0, output
        return steps(output)

    @property
    def model(self) -> Any:
        return joblib.load(self.folder / "model" / "model.joblib")

    @property
    def description(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "model" / "model.json").read_text()))


def arguments(hyperparameters: Mapping[str, Any]) -> list[str]:
    return [text for name, value in hyperparameters.items() for text in (f"--{name}", str(value))]


def steps(output: str) -> list[dict[str, float]]:
    lines = [line for line in output.splitlines() if line.startswith("step=")]
    return [{name: float(value) for name, value in (pair.split("=") for pair in line.split())} for line in lines]


@pytest.fixture
def tabular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Algorithm:
    return Algorithm(tmp_path, monkeypatch, capsys)


def as_table(data: Any, target: str, *, labels: bool = False) -> pa.Table:
    """One of scikit-learn's datasets, its target by number or by name."""
    names = [str(name) for name in getattr(data, "feature_names", range(data.data.shape[1]))]
    columns = dict(zip(names, data.data.T, strict=True))
    return pa.table(columns | {target: data.target_names[data.target] if labels else data.target})


def write_csv(table: pa.Table, file: Path) -> None:
    pa.csv.write_csv(table, file)


@pytest.mark.req("TRN-20")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_classification_of_digits_learns(tabular: Algorithm, estimator: str) -> None:
    write_csv(as_table(load_digits(), "digit").slice(0, 900), tabular.folder / "train" / "digits.csv")
    found = tabular.train(target="digit", estimator=estimator, iterations=12, max_leaf_nodes=8)
    assert [step["step"] for step in found] == list(range(1, 13))
    assert found[-1]["val_accuracy"] > 0.85
    assert found[-1]["loss"] < found[0]["loss"]
    assert tabular.description["classes"] == list(range(10))
    assert tabular.description["metrics"]["val_accuracy"] == pytest.approx(found[-1]["val_accuracy"], rel=1e-5)


@pytest.mark.req("TRN-20")
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_regression_of_diabetes_learns_and_the_model_predicts_as_its_metrics_say(
    tabular: Algorithm, estimator: str
) -> None:
    data = load_diabetes()
    write_csv(as_table(data, "progression"), tabular.folder / "train" / "rows.csv")
    found = tabular.train(target="progression", estimator=estimator, iterations=60, validation_fraction=0, l2=0.01)
    predicted = tabular.model.predict(data.data)
    assert tabular.description["task"] == "regression"
    assert np.square(predicted - data.target).mean() == pytest.approx(found[-1]["loss"], rel=1e-4)
    assert found[-1]["r2"] > 0.4


def test_labels_that_are_words_are_predicted_as_words(tabular: Algorithm) -> None:
    data = load_iris()
    write_csv(as_table(data, "species", labels=True), tabular.folder / "train" / "iris.csv")
    tabular.train(target="species", iterations=5, estimator="random_forest")
    assert tabular.model.predict([data.data[0], data.data[-1]]).tolist() == ["setosa", "virginica"]
    assert tabular.description["classes"] == ["setosa", "versicolor", "virginica"]


def test_it_runs_as_an_entry_point_does_and_its_model_loads_without_it(tabular: Algorithm) -> None:
    source = tabular.folder / "worker" / "source"
    shutil.copytree(algorithm_directory("tabular"), source)
    write_csv(as_table(load_breast_cancer(), "benign"), tabular.folder / "train" / "rows.csv")
    command = [sys.executable, "-W", "error", source / ENTRY_POINT, *arguments({"target": "benign", "iterations": 3})]
    environment = {"OMP_NUM_THREADS": "1", **tabular.environment}
    output = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=True).stdout
    assert [step["step"] for step in steps(output)] == [1, 2, 3]
    shutil.rmtree(source)
    program = (
        "import joblib, sys; model = joblib.load('model.joblib'); print(model.predict([[0] * 30]).shape)\n"
        "print([name for name in sys.modules if name.startswith(('blocks', 'source', 'tabular'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], cwd=tabular.folder / "model", capture_output=True, text=True, check=True
    )
    assert answer.stdout.split("\n") == ["(1,)", "[]", ""]


def people(rows: int, seed: int) -> pa.Table:
    """Rows with numbers, words, dates and booleans, of each of which some are missing."""
    random = np.random.default_rng(seed)
    age, town = random.integers(18, 90, rows), random.choice(["Ulm", "Oslo", "Lima"], rows)
    member, born = random.random(rows) < 0.5, random.integers(0, 10**9, rows)
    chance = (age > 50) * 0.6 + (town == "Oslo") * 0.3
    columns = {
        "age": pa.array(age, mask=random.random(rows) < 0.1),
        "town": pa.array(town, mask=random.random(rows) < 0.1),
        "member": pa.array(member, mask=random.random(rows) < 0.1),
        "born": pa.array(born, type=pa.timestamp("s"), mask=random.random(rows) < 0.1),
        "nothing": pa.nulls(rows),
        "bought": pa.array(np.where(random.random(rows) < chance, "yes", "no"), mask=random.random(rows) < 0.05),
    }
    return pa.table(columns)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_missing_values_words_dates_and_booleans_are_learnt_from(tabular: Algorithm, estimator: str) -> None:
    pa.parquet.write_table(people(600, 0), tabular.folder / "train" / "people.parquet")
    write_csv(people(200, 1).drop_columns("nothing"), tabular.folder / "validation" / "people.csv")
    found = tabular.train(target="bought", estimator=estimator, iterations=10)
    assert found[-1]["val_accuracy"] > 0.64
    kinds = {feature["name"]: feature["type"] for feature in tabular.description["features"]}
    assert kinds == {"age": "number", "town": "category", "member": "boolean", "born": "timestamp"}
    rows = np.array([[70, "Oslo", True, 0.0], [None, None, None, None], [20, "Atlantis", False, 1e9]], dtype=object)
    assert set(tabular.model.predict(rows)) <= {"yes", "no"}


def test_many_files_of_several_kinds_are_read_as_one(tabular: Algorithm) -> None:
    table, train = people(300, 0), tabular.folder / "train"
    write_csv(table.slice(0, 100), train / "a.csv")
    (train / "b.csv.gz").write_bytes(gzip.compress((train / "a.csv").read_bytes().replace(b",", b";")))
    (train / "deeper").mkdir()
    pa.parquet.write_table(table.slice(100), train / "deeper" / "c.parquet")
    (train / "_SUCCESS").touch()
    code, output = tabular.run(target="bought", iterations=2, ignore_columns="born, nothing", validation_fraction=0.25)
    assert code == 0, output
    rows = 2 * (100 - table.slice(0, 100)["bought"].null_count) + 200 - table.slice(100)["bought"].null_count
    held_out = round(rows * 0.25)
    assert f"{rows - held_out} rows, {held_out} more held out, with 3 features and 2 classes" in output


def test_a_column_that_is_text_in_one_file_is_text_in_all(tabular: Algorithm) -> None:
    (tabular.folder / "train" / "a.csv").write_text("code,y\n1,0\n2,1\n" * 1 + "1,0\n2,1\n" * 10)
    (tabular.folder / "train" / "b.csv").write_text("code,y\nx,0\n2,1\n")
    tabular.train(target="y", iterations=2, estimator="random_forest", validation_fraction=0)
    assert tabular.description["features"] == [{"name": "code", "type": "category"}]


@pytest.mark.req("TRN-07")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("dataset", [load_breast_cancer, load_diabetes])
def test_a_training_that_goes_on_from_a_checkpoint_ends_as_an_undisturbed_one(
    tabular: Algorithm, tmp_path: Path, estimator: str, dataset: Any
) -> None:
    write_csv(as_table(dataset(), "target"), tabular.folder / "train" / "rows.csv")
    settings = {"target": "target", "estimator": estimator, "max_leaf_nodes": 6}
    whole = tabular.train(**settings, iterations=8, checkpoint_every=0)
    assert not list((tabular.folder / "checkpoints").iterdir())
    tabular.train(**settings, iterations=4, checkpoint_every=1)
    (tabular.folder / "checkpoints").rename(tmp_path / "earlier")
    (tabular.folder / "checkpoints").mkdir()
    place = {"EM_CHECKPOINT_INPUT_DIR": str(tmp_path / "earlier")}
    code, output = tabular.run(environment=place, **settings, iterations=8)
    assert code == 0, output
    assert "going on from checkpoint-000004.joblib" in output
    assert steps(output) == whole[4:]


def test_a_checkpoint_of_another_training_is_refused(tabular: Algorithm) -> None:
    write_csv(as_table(load_iris(), "species"), tabular.folder / "train" / "iris.csv")
    tabular.train(target="species", iterations=3)
    code, output = tabular.run(target="species", iterations=3, learning_rate=0.3)
    assert (code, "made with learning_rate 0.1 and cannot go on with 0.3" in output) == (1, True)


def test_a_training_that_is_done_already_leaves_its_model_again(tabular: Algorithm) -> None:
    write_csv(as_table(load_iris(), "species"), tabular.folder / "train" / "iris.csv")
    found = tabular.train(target="species", iterations=3)
    shutil.rmtree(tabular.folder / "model")
    (tabular.folder / "model").mkdir()
    assert tabular.train(target="species", iterations=3) == []
    assert tabular.description["metrics"]["val_loss"] == pytest.approx(found[-1]["val_loss"], rel=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rare_classes_count_more_when_classes_are_balanced(tabular: Algorithm, estimator: str) -> None:
    random = np.random.default_rng(0)
    rare = random.random(600) < 0.1
    table = pa.table({"x": random.normal(rare * 1.5, 1), "rare": rare})
    write_csv(table, tabular.folder / "train" / "rows.csv")
    settings = {
        "target": "rare",
        "estimator": estimator,
        "iterations": 15,
        "min_samples_leaf": 20,
        "checkpoint_every": 0,
    }
    found = []
    for class_weight in ("none", "balanced"):
        tabular.train(**settings, class_weight=class_weight)
        found.append(int(tabular.model.predict(table["x"].to_numpy()[:, None]).sum()))
    assert found[1] > 2 * found[0]


def test_patience_ends_a_training_that_gets_no_better(tabular: Algorithm) -> None:
    write_csv(as_table(load_iris(), "species"), tabular.folder / "train" / "iris.csv")
    found = tabular.train(target="species", iterations=400, patience=5, learning_rate=1)
    assert len(found) < 200


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({}, "'target' is needed"),
        ({"target": "colour"}, "no column 'colour' in 'train'; it has: length, width, species"),
        ({"target": "species", "itertions": "5"}, "unknown hyperparameter 'itertions'; there are: target, task"),
        ({"target": "species", "iterations": "many"}, "--iterations: invalid int value: 'many'"),
        ({"target": "species", "iterations": "0"}, "iterations is 0; allowed is 1 to 10000"),
        ({"target": "species", "estimator": "magic"}, "estimator is 'magic'; allowed are: gradient_boosting"),
        ({"target": "species", "hidden_layers": "8,x"}, "hidden_layers is '8,x'"),
        ({"target": "species", "task": "regression"}, "a regression needs numbers"),
        ({"target": "species", "ignore_columns": "hight"}, "no column 'hight'; the columns are: length"),
        ({"target": "species", "ignore_columns": "length,width"}, "no column to predict 'species' from"),
        ({"target": "species", "validation_fraction": "0.9"}, "too few to hold 0.9 of them out"),
    ],
)
def test_a_wrong_hyperparameter_is_named(tabular: Algorithm, hyperparameters: dict[str, str], message: str) -> None:
    (tabular.folder / "train" / "rows.csv").write_text("length,width,species\n1,2,a\n")
    code, output = tabular.run(**hyperparameters)
    assert (code, message in output, "Traceback" in output) == (1, True, False), output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no file that ends in .csv"),
        ("", "rows.csv cannot be read"),
        ("x,y\n", "there are no rows in rows.csv"),
        ("x,x,y\n1,2,a\n", "rows.csv has the column 'x' twice"),
        ("x,y\n1,\n2,\n", "the target 'y' has no value in any row of 'train'"),
        ("x,y\n1,a\n2,a\n", "the target 'y' has only the value"),
        ("x,y\n1,a\n2\n", "rows.csv cannot be read"),
    ],
)
def test_wrong_data_is_named(tabular: Algorithm, text: str | None, message: str) -> None:
    if text is not None:
        (tabular.folder / "train" / "rows.csv").write_text(text)
    code, output = tabular.run(target="y", validation_fraction=0)
    assert (code, message in output, "Traceback" in output) == (1, True, False), output


def test_more_than_one_worker_is_refused(tabular: Algorithm) -> None:
    code, output = tabular.run(environment={"WORLD_SIZE": "2"}, target="y")
    assert (code, "trains on one worker" in output) == (1, True)


def test_an_unknown_algorithm_names_those_that_there_are() -> None:
    with pytest.raises(LookupError, match="'pictures'; there are: tabular"):
        algorithm_directory("pictures")


def test_the_catalogue_says_what_the_algorithm_takes() -> None:
    for entry in TABULAR.hyperparameters:
        (setting,) = (field for field in fields(Settings) if field.name == entry.name)
        bounds = None if entry.minimum is None else (entry.minimum, entry.maximum)
        assert (entry.choices or None, bounds) == (CHOICES.get(entry.name), BOUNDS.get(entry.name)), entry.name
        if entry.required:
            assert setting.default is MISSING
        else:
            assert type(setting.default)(entry.default) == setting.default
    assert [entry.name for entry in TABULAR.hyperparameters] == [field.name for field in fields(Settings)]


def test_the_default_expression_reads_the_metrics(tabular: Algorithm) -> None:
    write_csv(as_table(load_diabetes(), "progression"), tabular.folder / "train" / "rows.csv")
    _, output = tabular.run(target="progression", iterations=2)
    found = list(MetricReader().reports(output.encode()))
    assert {(name, step) for name, _, step in found} == {
        (f"{part}{name}", step) for part in ("", "val_") for name in ("loss", "rmse", "r2") for step in (1, 2)
    }
    assert {name for name, _, _ in found} <= {metric.name for metric in TABULAR.metrics}
