"""Published analyses, run again: a module each with `replicate(data, test) -> list[Figure]`. What they share stands here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator, clone, is_regressor
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from analysis.regress import PARTS
from engine.errors import DataError


class Figure(NamedTuple):
    """`name`: unique within a replication, dotted from the general to the special. `published`: theirs, where it is known."""

    name: str
    value: float | str | None
    published: float | None = None


def scored_on(
    models: Mapping[str, BaseEstimator], train: pl.DataFrame, test: pl.DataFrame, outcome: str, features: Sequence[str]
) -> pl.DataFrame:
    """Fit each model on all of `train` and predict `test`: a frame as `analysis.regress.held_out` returns, without intervals.

    What a model chooses by cross-validation it chooses by folds of the training targets. Raises DataError where `test` is empty.
    """
    if test.is_empty():
        raise DataError("the folder given with --test has no row that can be scored.")
    groups = train["target"].to_numpy()
    splits = list(GroupKFold(min(PARTS, len(set(groups)))).split(groups, groups=groups))
    floats = pl.col(list(features)).cast(pl.Float64).fill_null(np.nan)
    parts = []
    for name, model in models.items():
        fresh = clone(model)
        last = f"{fresh.steps[-1][0]}__cv" if isinstance(fresh, Pipeline) else "cv"
        if last in fresh.get_params():
            fresh.set_params(**{last: splits})
        fitted = fresh.fit(train.drop(outcome).with_columns(floats), train[outcome].cast(pl.Float64).to_numpy())
        score = pl.Series(fitted.predict(test.drop(outcome).with_columns(floats)), dtype=pl.Float64)
        none = pl.lit(None, pl.Float64)
        roles = test.select("source", "target", truth=pl.col(outcome).cast(pl.Float64)).with_row_index("row")
        parts.append(roles.with_columns(
            model=pl.lit(name), fold=pl.col("target"), score=score, prediction=score if is_regressor(model) else none, low=none, high=none
        ))  # fmt: skip
    return pl.concat(parts)


def of_scores(prefix: str, scores: pl.DataFrame, names: Sequence[str]) -> Iterator[Figure]:
    """The columns `names` of `analysis.regress.scores` as figures: prefix.model.score."""
    for row in scores.iter_rows(named=True):
        yield from (Figure(f"{prefix}.{row['model']}.{name}", row[name]) for name in names if row[name] is not None)
