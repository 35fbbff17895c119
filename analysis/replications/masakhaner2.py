"""MasakhaNER 2.0 (Adelani et al. 2022): which source to take, from ranks; and the in-language runs that collapsed."""

from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import bootstrap
from sklearn.base import BaseEstimator

from analysis.published import TYPOLOGY, Table, masakhaner2_ranks, masakhaner2_runs
from analysis.regress import Always, Mean, held_out, pipelines, rankings
from analysis.replications import Figure, scored_on
from engine.errors import DataError

DISTANCES = (*TYPOLOGY, "genetic", "geographic")


class Nearest(BaseEstimator):
    """Ranks sources by one distance, or by the mean of several over those that are known. It predicts no value."""

    def __init__(self, distances: tuple[str, ...]) -> None:
        self.distances = distances

    def fit(self, X: pl.DataFrame, y: np.ndarray) -> "Nearest":
        self.fitted_ = True
        return self

    def predict(self, X: pl.DataFrame) -> np.ndarray:
        # A source at an unknown distance is taken last.
        mean = pl.mean_horizontal(pl.col(self.distances).fill_nan(None))
        return -X.select(mean.fill_null(2.0)).to_series().to_numpy()


def replicate(data: Path, test: Path | None = None) -> list[Figure]:
    """English's ranks, the regret (in ranks) of sources chosen by typology, and the runs with and without the collapsed.

    With `test`, the learned choices are fitted on all of `data` and scored there; the ranks and runs reported are its own.
    """
    shown = data if test is None else test
    table = masakhaner2_ranks(shown)
    english = table.frame.filter(pl.col("source") == "eng")["rank"]
    if english.is_empty():
        raise DataError(f"{shown} has no rank of English (eng) as a source.")
    figures = [
        Figure("english.mean_rank", english.mean(), 16.8), Figure("english.sources", int(table.frame["source"].n_unique()) - 1, 41),
        Figure("english.times_first", int((english <= 1).sum()), 0),
    ]  # fmt: skip
    return figures + _regrets(masakhaner2_ranks(data), None if test is None else table) + _runs(shown)


def _regrets(train: Table, test: Table | None) -> list[Figure]:
    """Per way to choose a source: the mean regret over targets with its 95% interval by target, and NDCG@3."""
    models = {"English": Always("source", "eng"), "source_mean": Mean("source")}
    models |= {f"nearest.{name}": Nearest((name,)) for name in DISTANCES} | {"nearest.mean_of_all": Nearest(DISTANCES)}
    models |= {name: model for name, model in pipelines(train.features).items() if name != "elastic-net"}
    fit = train.frame.with_columns(preference=-pl.col("rank"))
    if test is None:
        predictions = held_out(fit, "preference", train.features, models=models, level=None)
    else:
        predictions = scored_on(models, fit, test.frame.with_columns(preference=-pl.col("rank")), "preference", train.features)
    figures = []
    for (model,), part in rankings(predictions).group_by("model", maintain_order=True):
        regret = part["regret"].to_numpy()
        interval = bootstrap((regret,), np.mean, method="percentile", rng=0).confidence_interval
        values = {"regret": regret.mean(), "regret_low": interval.low, "regret_high": interval.high, "ndcg3": part["ndcg3"].mean()}
        figures += [Figure(f"{model}.{name}", float(value)) for name, value in values.items()]
    return figures


def _runs(folder: Path) -> list[Figure]:
    published = {"xlmrlarge": {"runs": 137, "collapsed": 15}}
    figures = []
    for row in masakhaner2_runs(folder).group_by("model").agg(
        runs=pl.len(), collapsed=pl.col("collapsed").sum(), mean_f1=pl.col("f1").mean(), mean_f1_without=pl.col("f1").filter(~pl.col("collapsed")).mean(),
        languages=pl.col("language").filter("collapsed").n_unique(),
    ).sort("model").iter_rows(named=True):  # fmt: skip
        model = row.pop("model")
        figures += [Figure(f"runs.{model}.{name}", value, published.get(model, {}).get(name)) for name, value in row.items()]
    return figures
