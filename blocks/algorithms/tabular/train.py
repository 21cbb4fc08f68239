"""Train a model on rows: CSV or Parquet files with a header, one column of which is to be predicted.

Datasets: `train` (needed) and `validation` (optional; without it `validation_fraction` of the rows is held out). All
`.csv`, `.tsv` (also `.gz`) and `.parquet` files below a dataset's directory are read and joined, in order of their
names. One worker.

| hyperparameter | type | default | allowed | meaning |
| --- | --- | --- | --- | --- |
| target | STRING | (needed) | a column | what is predicted |
| task | STRING | auto | auto, classification, regression | auto: numbers of more than 20 values are a regression |
| estimator | STRING | gradient_boosting | gradient_boosting, random_forest, linear, neural_network | |
| iterations | INT | 100 | 1..10000 | boosting rounds, trees, or passes over the rows |
| learning_rate | DOUBLE | 0 | 0..10 | 0: the estimator's usual one (0.1, -, 0.03, 0.001) |
| l2 | DOUBLE | 0.0001 | 0..1000000 | strength of the L2 penalty; not of random_forest |
| max_depth | INT | 0 | 0..64 | of each tree; 0: no limit |
| max_leaf_nodes | INT | 31 | 2..65536 | of each tree of gradient_boosting |
| min_samples_leaf | INT | 0 | 0..1000000 | of each tree; 0: the estimator's usual one (20, 1) |
| max_features | DOUBLE | 0 | 0..1 | share of the features tried at a split; 0: the estimator's usual one |
| hidden_layers | STRING | 100 | numbers with commas | units of each hidden layer of neural_network |
| batch_size | INT | 200 | 1..1000000 | rows of each step of neural_network |
| class_weight | STRING | none | none, balanced | balanced: rare classes count as much as frequent ones |
| ignore_columns | STRING | | columns with commas | what is no feature, such as an id |
| validation_fraction | DOUBLE | 0.2 | 0..0.9 | held out when there is no `validation`; 0: nothing |
| patience | INT | 0 | 0..10000 | stop after so many iterations without a better validation loss; 0: never |
| checkpoint_every | INT | 10 | 0..10000 | iterations between checkpoints; 0: none |
| random_state | INT | 0 | 0..4294967295 | the same one gives the same model |

A hyperparameter that the chosen estimator does not have is ignored, so that a tuning can vary the estimator too.

Metrics, one line an iteration: `step`, `loss` (log loss, or mean squared error), `accuracy` or `rmse` and `r2`, and
`val_` of each where rows are held out.

Leaves `model.joblib`, a plain scikit-learn Pipeline from rows (a two-dimensional array, columns in the order of
`model.json`) to predictions, which loads without this code, and `model.json`, which describes it.
"""

import os
import sys
from pathlib import Path

if not __package__:
    # Run as a file, as every entry point is: be a package all the same, under whatever name the folder has (PEP 366).
    _folder = Path(__file__).resolve().parent
    sys.path.insert(0, str(_folder.parent))
    __package__ = _folder.name
    __import__(__package__)
    del sys.path[0]

from .settings import InputError, read_settings
from .training import Places, train


def main() -> int:
    """Run with the arguments and the environment that the platform gives."""
    try:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise InputError("this algorithm trains on one worker; set the number of workers to 1")
        train(read_settings(sys.argv[1:]), Places.of(os.environ))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
