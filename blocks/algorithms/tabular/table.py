"""Rows from CSV and Parquet files, and the arrays that scikit-learn wants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from .settings import InputError, Settings

TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
PARQUET = (".parquet", ".pq")

FEW_VALUES = 20
"""Whole numbers of at most so many different values are classes, unless the task is given."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Feature:
    """A column that predictions are made from.

    Attributes:
        type: `number`, `boolean`, `timestamp` (seconds since 1970, UTC) or `category`.
    """

    name: str
    type: str

    @property
    def is_category(self) -> bool:
        """Whether its values are names rather than numbers."""
        return self.type == "category"


def read_table(directory: Path) -> pa.Table:
    """All rows below `directory`, in order of the files' names.

    Raises:
        InputError: There are no files or rows, or one file cannot be read.
    """
    files = sorted(path for path in directory.rglob("*") if path.name.endswith(TEXT + PARQUET) and path.is_file())
    if not files:
        found = ", ".join(sorted(path.name for path in directory.rglob("*") if path.is_file())[:5]) or "nothing"
        raise InputError(f"there is no file that ends in {', '.join(TEXT + PARQUET)} in the dataset; there is: {found}")
    table = pa.concat_tables(_alike([_read(file, directory) for file in files]), promote_options="permissive")
    if not table.num_rows:
        raise InputError(f"there are no rows in {', '.join(file.name for file in files[:5])}")
    return table


def _read(file: Path, directory: Path) -> pa.Table:
    try:
        if file.name.endswith(PARQUET):
            table = pa.parquet.read_table(file)
        else:
            parse = pa.csv.ParseOptions(delimiter=_delimiter(file))
            table = pa.csv.read_csv(
                file, parse_options=parse, convert_options=pa.csv.ConvertOptions(strings_can_be_null=True)
            )
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file.relative_to(directory)} cannot be read: {error}") from error
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{file.relative_to(directory)} has the column {twice[0]!r} twice")
    columns = [column.dictionary_decode() if _is_dictionary(column) else column for column in table.columns]
    return pa.table(columns, names=names)


def _is_dictionary(column: Any) -> bool:
    return bool(pa.types.is_dictionary(column.type))


def _delimiter(file: Path) -> str:
    """The one of , ; tab | that the header has most of."""
    with pa.input_stream(str(file)) as stream:
        header = stream.read(65_536).split(b"\n", 1)[0].decode(errors="replace")
    return max(",;\t|", key=header.count)


def _alike(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """The tables, with a column that is text in one of them as text in all."""
    text = {field.name for table in tables for field in table.schema if pa.types.is_string(field.type)}
    for table in tables:
        types = [(field.name, pa.string() if field.name in text else field.type) for field in table.schema]
        yield table.cast(pa.schema(types))


def find_features(table: pa.Table, settings: Settings) -> list[Feature]:
    """The columns to predict from: all but the target, those to ignore, and those without any value.

    Raises:
        InputError: The target or a column to ignore is not there, or nothing is left.
    """
    names = table.column_names
    for name in (settings.target, *sorted(settings.ignored)):
        if name not in names:
            raise InputError(f"there is no column {name!r}; the columns are: {', '.join(names)}")
    features = []
    for field in table.schema:
        if field.name == settings.target or field.name in settings.ignored:
            continue
        if table[field.name].null_count == table.num_rows:
            print(f"column {field.name!r} is left out: it has no values", flush=True)
            continue
        features.append(Feature(field.name, _type_of(field)))
    if not features:
        raise InputError(f"there is no column to predict {settings.target!r} from")
    return features


def _type_of(field: Any) -> str:
    kinds = pa.types
    if kinds.is_boolean(field.type):
        return "boolean"
    if kinds.is_integer(field.type) or kinds.is_floating(field.type) or kinds.is_decimal(field.type):
        return "number"
    if kinds.is_timestamp(field.type) or kinds.is_date(field.type):
        return "timestamp"
    if kinds.is_string(field.type) or kinds.is_large_string(field.type):
        return "category"
    raise InputError(f"column {field.name!r} is of type {field.type}; name it in ignore_columns, or convert it")


def feature_rows(table: pa.Table, features: Sequence[Feature]) -> Array:
    """One row of values for each row of the table: float64, or objects where a feature is a category.

    Raises:
        InputError: A column is missing, or is not of the feature's type.
    """
    columns = []
    for feature in features:
        if feature.name not in table.column_names:
            raise InputError(f"column {feature.name!r} of the dataset 'train' is not in 'validation'")
        try:
            columns.append(_values(table[feature.name], feature))
        except pa.ArrowInvalid as error:
            raise InputError(f"column {feature.name!r} should be of type {feature.type}: {error}") from error
    kind = object if any(feature.is_category for feature in features) else np.float64
    rows = np.empty((table.num_rows, len(columns)), dtype=kind)
    for position, column in enumerate(columns):
        rows[:, position] = column
    return rows


def _values(column: Any, feature: Feature) -> Array:
    if feature.is_category:
        return np.array(column.cast(pa.string()).to_pylist(), dtype=object)
    if feature.type == "timestamp":
        micros = column.cast(pa.timestamp("us")).cast(pa.int64())
        return _floats(pc.divide(micros.cast(pa.float64(), safe=False), 1e6))
    return _floats(column.cast(pa.float64(), safe=False))


def _floats(column: Any) -> Array:
    return np.asarray(column.fill_null(float("nan")).to_numpy(), dtype=np.float64)


def choose_task(column: Any, settings: Settings) -> str:
    """`classification` or `regression`; see `FEW_VALUES`.

    Raises:
        InputError: A regression is asked for on a target that is no number.
    """
    kinds = pa.types
    is_number = kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_decimal(column.type)
    if settings.task == "regression" and not is_number:
        raise InputError(f"the target {settings.target!r} is of type {column.type}; a regression needs numbers")
    if settings.task != "auto":
        return settings.task
    if not is_number:
        return "classification"
    values = np.unique(_floats(column.drop_null().cast(pa.float64(), safe=False)))
    is_whole = bool(np.all(values == np.floor(values)))
    return "classification" if is_whole and len(values) <= FEW_VALUES else "regression"


def with_target(table: pa.Table, target: str, dataset: str) -> pa.Table:
    """The rows that have a target.

    Raises:
        InputError: None has.
    """
    if target not in table.column_names:
        raise InputError(f"there is no column {target!r} in {dataset!r}; it has: {', '.join(table.column_names)}")
    kept = table.filter(pc.and_(pc.is_valid(table[target]), _is_a_number(table[target])))
    if not kept.num_rows:
        raise InputError(f"the target {target!r} has no value in any row of {dataset!r}")
    if kept.num_rows < table.num_rows:
        print(f"{table.num_rows - kept.num_rows} rows of {dataset!r} without a target are left out", flush=True)
    return kept


def _is_a_number(column: Any) -> Any:
    """True where it is not NaN; null stays null."""
    if pa.types.is_floating(column.type):
        return pc.invert(pc.is_nan(column))
    return pc.is_valid(column)


def target_values(column: Any, task: str) -> Array:
    """The target: float64 for a regression; labels (text, whole numbers or booleans) for a classification."""
    if task == "regression":
        return _floats(column.cast(pa.float64(), safe=False))
    if pa.types.is_boolean(column.type):
        return np.array(column.to_pylist(), dtype=bool)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_decimal(column.type):
        values = _floats(column.cast(pa.float64(), safe=False))
        return values.astype(np.int64) if np.all(values == np.floor(values)) else values
    return np.array(column.cast(pa.string()).to_pylist(), dtype=str)
