"""de Vries et al. 2022: POS tagging with 65 sources and 105 targets. What predicts accuracy on a target that was held out?"""

from pathlib import Path

import polars as pl
from sklearn.base import BaseEstimator

from analysis.importance import importance
from analysis.mixed import CrossedEffects
from analysis.published import TYPOLOGY, Table, devries
from analysis.regress import baselines, held_out, pipelines, scores
from analysis.replications import Figure, of_scores, scored_on
from analysis.typology import distances

SCORES = ("rmse", "mae", "rank_correlation", "ndcg3", "regret", "coverage", "language_coverage", "width")
# Known for most pairs; a mixed model leaves out rows in which a feature is unknown.
MIXED = ("syntactic", "genetic", "geographic", "ldnd", "same_script", "source_pretrained", "target_pretrained")


def replicate(data: Path, test: Path | None = None) -> list[Figure]:
    """Held-out predictions, blocks' importance and a mixed model; with `test`, models fitted on `data` and scored there."""
    table = devries(data)
    new = None if test is None else devries(test).frame
    models = _models(table, new)
    if new is not None:
        predictions = scored_on(models, table.frame, new, table.outcome, table.features)
        return list(of_scores("test", scores(predictions), SCORES))
    # Intervals cost five more fits each: too long for boosting, so that it has none here.
    parts = [({name: model for name, model in models.items() if (name == "boosting") == slow}, None if slow else 0.9) for slow in (False, True)]
    found = [held_out(table.frame, table.outcome, table.features, models=part, level=level, n_jobs=-1) for part, level in parts]
    return [*_shape(table.frame), *of_scores("held_out", scores(pl.concat(found)), SCORES), *_blocks(table), *_mixed(table)]


def _models(table: Table, new: pl.DataFrame | None) -> dict[str, BaseEstimator]:
    models = {name: model for name, model in pipelines(table.features).items() if name != "elastic-net"}
    codes = {*table.frame["target"], *([] if new is None else new["target"])}
    nearest = distances(sorted(codes)).with_columns(distance=pl.mean_horizontal(*TYPOLOGY, "genetic", "geographic"))
    return models | baselines(overlap="ldnd", distances=nearest, english="eng")


def _shape(frame: pl.DataFrame) -> list[Figure]:
    values = {"pairs": len(frame), "sources": frame["source"].n_unique(), "targets": frame["target"].n_unique()}
    return [Figure(f"table.{name}", value) for name, value in values.items()]


def _blocks(table: Table) -> list[Figure]:
    """Shapley shares of R2, their intervals by language and by row, and how many times narrower the latter are."""
    figures = []
    for row in importance(table.frame, table.outcome, table.blocks).iter_rows(named=True):
        names = ("r2", "low", "high", "row_low", "row_high", "held_out")
        figures += [Figure(f"block.{row['block']}.{name}", row[name]) for name in names]
        narrower = (row["high"] - row["low"]) / (row["row_high"] - row["row_low"])
        figures.append(Figure(f"block.{row['block']}.times_narrower", narrower))
    return figures


def _mixed(table: Table) -> list[Figure]:
    """Estimates per standard deviation of the feature, in points of accuracy."""
    model = CrossedEffects().fit(table.frame, table.outcome, list(MIXED))
    figures = [Figure("mixed.n", model.n_), Figure("mixed.left_out", model.dropped_)]
    figures += [Figure("mixed.r2_marginal", model.r2_marginal_), Figure("mixed.r2_conditional", model.r2_conditional_)]
    for row in model.coef_.iter_rows(named=True):
        figures += [Figure(f"mixed.{row['feature']}.{name}", row[name] * row["sd"]) for name in ("estimate", "low", "high")]
        figures += [Figure(f"mixed.{row['feature']}.{name}", row[name]) for name in ("p", "vif")]
    return figures
