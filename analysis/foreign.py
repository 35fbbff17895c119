"""CSV files that others wrote: read, their numbers checked, their language codes brought to one spelling.

What a table's columns are for is known to who reads it: `analysis.fit` and `analysis.published`.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from analysis.typology import canonical
from engine.errors import DataError

SEPARATORS = ",;\t"


def read_csv(path: Path) -> pl.DataFrame:
    """Read a file of comma, semicolon or tab separated values with a header.

    Raises DataError for a file that cannot be read so, one without a row, and a column that the header names twice.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            header = file.readline()
        separator = max(SEPARATORS, key=header.count)
        frame = pl.read_csv(path, separator=separator, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} cannot be read as CSV with a header: {str(error).splitlines()[0]}.") from error
    names = next(csv.reader([header], delimiter=separator))
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"the header of {path} names {', '.join(twice)} twice: rename one, or leave it out.")
    if frame.is_empty():
        raise DataError(f"{path} has a header and no rows.")
    return frame


def numeric(frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """The table with these columns as float64. Raises DataError for the first value that is no number; empty ones are unknown."""
    for column in columns:
        if found := no_number(frame[column]):
            row, value = found
            raise DataError(
                f"column {column!r} holds {value!r} in row {row} (the header not counted), which is no number. Write numbers as "
                "0.71, and leave empty what is unknown."
            )
    return frame.with_columns(pl.col(columns).cast(pl.Float64))


def no_number(column: pl.Series) -> tuple[int, object] | None:
    """The first row, counted from 1, whose value is known and no number, and that value."""
    if column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        return None
    other = (column.cast(pl.Float64, strict=False).is_null() & column.is_not_null()).arg_true()
    return (other[0] + 1, column[other[0]]) if len(other) else None


def with_codes(frame: pl.DataFrame, columns: Sequence[str] = ("source", "target")) -> tuple[pl.DataFrame, Mapping[str, str]]:
    """Write the columns' languages, or sets of them joined by +, as `canonical` does, a set's in alphabetical order.

    Returns the table and what each label that changed became. Raises DataError for a row that names no language, StudyError for
    an unknown code.
    """
    for column in columns:
        if missing := frame[column].null_count():
            raise DataError(f"{missing} rows have no {column}: every row names its languages.")
    labels = sorted({label for column in columns for label in frame[column].cast(pl.String)})
    codes = {label: "+".join(sorted(canonical(code) for code in label.split("+"))) for label in labels}
    written = frame.with_columns(pl.col(columns).cast(pl.String).replace_strict(codes, return_dtype=pl.String))
    return written, {label: code for label, code in codes.items() if label != code}
