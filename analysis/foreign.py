"""CSV files that others wrote: read, their numbers checked, their language codes brought to one spelling.

What is made of a table with any columns is `analysis.fit`'s; tables whose columns are known, `analysis.published` reads with
these functions.
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from analysis.features import with_typology
from analysis.pairs import required
from analysis.typology import DISTANCES, canonical
from engine.errors import DataError

SEPARATORS = ",;\t"
TYPOLOGY = tuple(name for name in DISTANCES if name != "featural")  # the union of three others


def read(options: argparse.Namespace) -> tuple[pl.DataFrame, list[str], list[str]]:
    """The rows of transfer of `analysis.fit`'s table, its features, and what there is to say of both.

    "source" and "target" are text, typology is joined. Features are the columns of `--features`, or else all columns of numbers without another role. Raises DataError for a file that
    is no table, columns that are missing or no numbers, and features that cannot be; StudyError for an unknown language code.
    """
    frame = read_csv(options.file)
    named = list(dict.fromkeys(name for name in (*(options.features or ()), options.size, options.overlap) if name))
    roles = [options.source, options.target, options.outcome, *options.groups, *named]
    required(frame, roles)
    if several := sorted({name for name in roles if roles.count(name) > 1}):
        raise DataError(f"a column has one role, and these have several: {', '.join(several)}.")
    frame = numeric(frame, [options.outcome, *named])
    for role in (options.source, options.target, *options.groups):
        if frame[role].null_count():
            raise DataError(f"{frame[role].null_count()} rows have no {role}: every row names its languages and its group.")
    notes = []
    for name in sorted({"source", "target"} & set(frame.columns) - {options.source, options.target}):
        if name in roles:
            raise DataError(f"the column {name!r} is not this table's --{name}, and has another role: rename it.")
        notes.append(f"the column {name!r} is left out: --{name} is {getattr(options, name)!r}")
        frame = frame.drop(name)
    frame = frame.rename({options.source: "source", options.target: "target"}).with_columns(pl.col("source", "target").cast(pl.String))
    features, said = (named, []) if options.features else _features(frame, options, {"source", "target", *roles} - {*named})
    frame, of_rows = _transfer(numeric(frame, features), options)
    return (frame, features, notes + said + of_rows) if options.no_typology else (_joined(frame), [*features, *TYPOLOGY], notes + said + of_rows)


def _features(frame: pl.DataFrame, options: argparse.Namespace, roles: set[str]) -> tuple[list[str], list[str]]:
    """The columns of numbers without another role, and what there is to say of the others."""
    others = [name for name in frame.columns if name not in roles]
    found = {name: no_number(frame[name]) for name in others}
    numbers = [name for name in others if found[name] is None]
    if not numbers and options.no_typology:
        raise DataError("there is no feature: no column of numbers is left, and --no-typology leaves out the distances.")
    notes = [f"features, for they are numeric: {', '.join(numbers)} (choose with --features)"] if numbers else []
    almost = [name for name in others if found[name] and frame[name].cast(pl.Float64, strict=False).count()]
    return numbers, notes + [f"{name} is no feature: row {found[name][0]} holds {found[name][1]!r}, which is no number" for name in almost]


def _transfer(frame: pl.DataFrame, options: argparse.Namespace) -> tuple[pl.DataFrame, list[str]]:
    """The rows whose source is not just the target, languages written as `with_codes` does if codes are read; what was changed."""
    notes = []
    if not options.no_typology:
        frame, renamed = with_codes(frame)
        if renamed:
            notes.append(f"languages were written in several ways, or in others than here: {', '.join(f'{a} is {b}' for a, b in renamed.items())}")
    own = frame["source"] == frame["target"]
    among = (frame["source"].str.split("+").list.contains(frame["target"]) & ~own).sum()
    if own.any():
        notes.append(f"{own.sum()} rows are left out, for their source is their target: that is no transfer")
    if among:
        notes.append(f"{among} rows have their target among several sources: they are counted as transfer")
    if own.all():
        raise DataError("the source is the target in all rows: there is no transfer to explain.")
    return frame.filter(~own), notes


def _joined(frame: pl.DataFrame) -> pl.DataFrame:
    try:
        return with_typology(frame)
    except DataError as error:
        raise DataError(f"{error} Or leave typology out with --no-typology.") from None


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
