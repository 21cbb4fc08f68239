"""From rows to what an estimator computes with: missing values, categories, scales."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from .table import Feature

MOST_ONE_HOT = 100
"""Rarer categories of a feature past so many share one column."""

MOST_ORDINAL = 254
"""The histogram trees know 255 bins, one of which is for what is rare."""


def make_transformer(features: Sequence[Feature], *, for_trees: bool) -> Any:
    """A transformer that is made of scikit-learn and numpy alone, so that it loads wherever they are.

    Numbers come first in its output, then categories, each in order of the columns. Trees take missing values and
    numbered categories as they are; other estimators need them filled in, scaled, and one column a category.
    """
    numbers = [position for position, feature in enumerate(features) if not feature.is_category]
    categories = [position for position, feature in enumerate(features) if feature.is_category]
    floats = FunctionTransformer(np.asarray, kw_args={"dtype": "float64"})
    if for_trees:
        number = floats
        category = OrdinalEncoder(
            handle_unknown="use_encoded_value",
            unknown_value=-1,
            encoded_missing_value=np.nan,
            max_categories=MOST_ORDINAL,
        )
    else:
        number = make_pipeline(floats, SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
        category = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MOST_ONE_HOT, sparse_output=False)
    parts = [("numbers", number, numbers), ("categories", category, categories)]
    return ColumnTransformer([part for part in parts if part[2]])


def category_mask(features: Sequence[Feature]) -> list[bool]:
    """Which columns of the transformer's output for trees are categories."""
    return sorted(feature.is_category for feature in features)
