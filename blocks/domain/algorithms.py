"""The algorithms that come with the platform, as a catalogue shows them: what each takes, and what it reports."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from blocks.domain.errors import InvalidInputError
from blocks.domain.plan import Frozen
from blocks.domain.specs import TrainingSpec


class HyperparameterType(StrEnum):
    """What a hyperparameter's text stands for."""

    INT = "INT"
    DOUBLE = "DOUBLE"
    CATEGORICAL = "CATEGORICAL"
    STRING = "STRING"


class Hyperparameter(Frozen):
    """One documented hyperparameter of a provided algorithm.

    Attributes:
        default: What is used when it is not given.
        required: Whether it has to be given.
        minimum: The smallest allowed number; every INT and DOUBLE has one.
        maximum: The largest allowed number, likewise.
        choices: The allowed texts of a CATEGORICAL one.
    """

    name: str
    type: HyperparameterType
    description: str
    default: str = ""
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: str) -> None:
        """Refuse a value of the wrong type or outside of the bounds.

        Raises:
            InvalidInputError: It says what is allowed.
        """
        if self.type is HyperparameterType.CATEGORICAL:
            allowed = value in self.choices
        elif self.type is HyperparameterType.STRING:
            allowed = bool(value) or not self.required
        else:
            allowed = self._holds(value)
        if not allowed:
            raise InvalidInputError(
                f"The hyperparameter {self.name}={value!r}",
                f"allowed is {self.allowed}",
                "Correct it, or leave it out.",
            )

    @property
    def allowed(self) -> str:
        """What is allowed, for people."""
        if self.type is HyperparameterType.CATEGORICAL:
            return "one of " + ", ".join(self.choices)
        if self.type is HyperparameterType.STRING:
            return "a text"
        kind = "a whole number" if self.type is HyperparameterType.INT else "a number"
        return f"{kind} from {self.minimum:.16g} to {self.maximum:.16g}"

    def _holds(self, value: str) -> bool:
        try:
            found = int(value) if self.type is HyperparameterType.INT else float(value)
        except ValueError:
            return False
        if self.minimum is None or self.maximum is None:
            return False
        return self.minimum <= found <= self.maximum


class AlgorithmDataset(Frozen):
    """A dataset that a provided algorithm reads."""

    name: str
    description: str
    required: bool = False


class AlgorithmMetric(Frozen):
    """A metric that a provided algorithm reports."""

    name: str
    description: str


class ProvidedAlgorithmEntry(Frozen):
    """A provided algorithm.

    Attributes:
        image: The image that brings what it imports; used unless another one than the default is asked for.
        max_workers: How many workers it can make use of.
    """

    name: str
    title: str
    description: str
    image: str
    max_workers: int = Field(default=1, ge=1)
    datasets: tuple[AlgorithmDataset, ...]
    hyperparameters: tuple[Hyperparameter, ...]
    metrics: tuple[AlgorithmMetric, ...]

    def check(self, spec: TrainingSpec) -> None:
        """Refuse settings that the algorithm could not run with.

        Raises:
            InvalidInputError: It names the setting, and what is allowed.
        """
        self.check_hyperparameters({pair.name: pair.value for pair in spec.algorithm.hyperparameters})
        self._check_datasets([dataset.name for dataset in spec.inputs.datasets])
        if spec.instances.workers > self.max_workers:
            raise InvalidInputError(
                f"{spec.instances.workers} workers",
                f"the provided algorithm {self.name} makes use of {self.max_workers}",
                "Ask for fewer workers.",
            )

    def check_hyperparameters(self, given: Mapping[str, str]) -> None:
        """Refuse unknown names, missing ones, and values that are not allowed.

        Raises:
            InvalidInputError: It names the hyperparameter, and what is allowed.
        """
        self.check_given(given)
        for hyperparameter in self.hyperparameters:
            if hyperparameter.required and hyperparameter.name not in given:
                raise self._missing("hyperparameter", hyperparameter.name, hyperparameter.description)

    def check_given(self, given: Mapping[str, str]) -> None:
        """The same, when others may come later: what is missing is not refused.

        Raises:
            InvalidInputError: It names the hyperparameter, and what is allowed.
        """
        known = {hyperparameter.name: hyperparameter for hyperparameter in self.hyperparameters}
        for name, value in given.items():
            if name not in known:
                raise self._unknown("hyperparameter", name, list(known))
            known[name].check(value)

    def _check_datasets(self, given: list[str]) -> None:
        for name in given:
            if name not in {dataset.name for dataset in self.datasets}:
                raise self._unknown("dataset", name, [dataset.name for dataset in self.datasets])
        for dataset in self.datasets:
            if dataset.required and dataset.name not in given:
                raise self._missing("dataset", dataset.name, dataset.description)

    def _unknown(self, what: str, name: str, known: list[str]) -> InvalidInputError:
        why = f"the provided algorithm {self.name} has no such {what}"
        return InvalidInputError(f"The {what} {name!r}", why, f"It has: {', '.join(known)}.")

    def _missing(self, what: str, name: str, description: str) -> InvalidInputError:
        why = f"the provided algorithm {self.name} needs it, and it is not given"
        return InvalidInputError(f"The {what} {name!r}", why, f"Give it: {description}")


def _choice(name: str, default: str, choices: str, description: str) -> Hyperparameter:
    kind = HyperparameterType.CATEGORICAL
    return Hyperparameter(
        name=name, type=kind, default=default, choices=tuple(choices.split()), description=description
    )


def _whole(name: str, default: int, bounds: tuple[int, int], description: str) -> Hyperparameter:
    low, high = bounds
    kind = HyperparameterType.INT
    return Hyperparameter(
        name=name, type=kind, default=str(default), minimum=low, maximum=high, description=description
    )


def _real(name: str, default: float, bounds: tuple[float, float], description: str) -> Hyperparameter:
    low, high = bounds
    kind = HyperparameterType.DOUBLE
    return Hyperparameter(
        name=name, type=kind, default=str(default), minimum=low, maximum=high, description=description
    )


def _text(name: str, default: str, description: str, *, required: bool = False) -> Hyperparameter:
    kind = HyperparameterType.STRING
    return Hyperparameter(name=name, type=kind, default=default, required=required, description=description)


TABULAR = ProvidedAlgorithmEntry(
    name="tabular",
    title="Tabular",
    description="Classification and regression of rows with scikit-learn. Leaves model.joblib, a plain scikit-learn "
    "pipeline from rows to predictions, and model.json, which describes it. A hyperparameter that the chosen estimator "
    "does not have is ignored.",
    image="scikit-learn",
    datasets=(
        AlgorithmDataset(name="train", description="CSV, TSV or Parquet files with a header.", required=True),
        AlgorithmDataset(name="validation", description="The same; without it a part of train is held out."),
    ),
    hyperparameters=(
        _text("target", "", "The column to predict.", required=True),
        _choice("task", "auto", "auto classification regression", "auto: more than 20 numbers are a regression."),
        _choice(
            "estimator",
            "gradient_boosting",
            "gradient_boosting random_forest linear neural_network",
            "What is trained.",
        ),
        _whole("iterations", 100, (1, 10_000), "Boosting rounds, trees, or passes over the rows."),
        _real("learning_rate", 0, (0, 10), "0: the estimator's usual one (0.1, -, 0.03, 0.001)."),
        _real("l2", 0.0001, (0, 1_000_000), "Strength of the L2 penalty; not of random_forest."),
        _whole("max_depth", 0, (0, 64), "Depth of each tree; 0: no limit."),
        _whole("max_leaf_nodes", 31, (2, 65_536), "Leaves of each tree of gradient_boosting."),
        _whole("min_samples_leaf", 0, (0, 1_000_000), "Rows in each leaf; 0: the estimator's usual one (20, 1)."),
        _real("max_features", 0, (0, 1), "Share of the features tried at a split; 0: the estimator's usual one."),
        _text("hidden_layers", "100", "Units of each hidden layer of neural_network, with commas."),
        _whole("batch_size", 200, (1, 1_000_000), "Rows in each step of neural_network."),
        _choice("class_weight", "none", "none balanced", "balanced: rare classes count as much as frequent ones."),
        _text("ignore_columns", "", "Columns that are no features, such as an id, with commas."),
        _real("validation_fraction", 0.2, (0, 0.9), "Held out when there is no validation; 0: nothing."),
        _whole("patience", 0, (0, 10_000), "Stop after so many iterations without a better validation loss; 0: never."),
        _whole("checkpoint_every", 10, (0, 10_000), "Iterations between checkpoints; 0: none."),
        _whole("random_state", 0, (0, 2**32 - 1), "The same one gives the same model."),
    ),
    metrics=(
        AlgorithmMetric(name="loss", description="Log loss of a classification, mean squared error of a regression."),
        AlgorithmMetric(name="accuracy", description="Share of right classes."),
        AlgorithmMetric(name="rmse", description="Root of the mean squared error of a regression."),
        AlgorithmMetric(name="r2", description="Share of the target's variance that is explained."),
        AlgorithmMetric(name="val_loss", description="The loss on rows that are held out."),
        AlgorithmMetric(name="val_accuracy", description="The accuracy on rows that are held out."),
        AlgorithmMetric(name="val_rmse", description="The rmse on rows that are held out."),
        AlgorithmMetric(name="val_r2", description="The r2 on rows that are held out."),
    ),
)

ALGORITHMS = (TABULAR,)
