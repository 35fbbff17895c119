"""Correlations of an outcome of transfer with features of the pair, and whether so few languages carry them.

The form of Muller et al. 2022's Table 1, with what it lacks: intervals and tests by language, the correction for many
features, and the correlation that so many languages could show at all. Row-level figures stand beside the others, to
make plain how much too narrow they are.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.pairs import Pairs

LEVEL, POWER = 0.95, 0.8
METHODS = ("pearson", "spearman")


def correlate(
    frame: pl.DataFrame,
    outcome: str,
    features: Sequence[str],
    source: str = "source",
    target: str = "target",
    draws: int = 10_000,
    random_state: int = 0,
) -> pl.DataFrame:
    """Return one row a method (METHODS) and feature, in the order of `features`."""
    pairs = Pairs.of(frame, outcome, features, source, target)
    rows = []
    for method in METHODS:
        for number, name in enumerate(features):
            known = ~np.isnan(pairs.features[:, number])
            part = replace(
                pairs, outcome=pairs.outcome[known], features=pairs.features[known, number : number + 1],
                source=pairs.source[known], target=pairs.target[known],
            )
            if method == "spearman":
                part = replace(part, outcome=stats.rankdata(part.outcome), features=stats.rankdata(part.features, axis=0))
            rows.append({"feature": name, "method": method} | _one(part, draws, np.random.default_rng(random_state)))
    table = pl.DataFrame(rows, infer_schema_length=None)
    return table.with_columns(
        p_holm=pl.col("p").map_batches(lambda p: _corrected(p, "holm")).over("method"),
        p_bh=pl.col("p").map_batches(lambda p: _corrected(p, "fdr_bh")).over("method"),
    )


def detectable(languages: int) -> float:
    """The smallest |r| that a two-sided test at .05 finds in 80 of 100 tables of so many independent languages."""
    if languages <= 3:
        return float("nan")
    return float(np.tanh((stats.norm.ppf(0.5 + LEVEL / 2) + stats.norm.ppf(POWER)) / np.sqrt(languages - 3)))


def _one(pairs: Pairs, draws: int, rng: np.random.Generator) -> dict[str, float]:
    x = pairs.features[:, 0]
    row = stats.pearsonr(x, pairs.outcome)
    row_low, row_high = row.confidence_interval(LEVEL)
    booted = np.concatenate([_correlations(weights, pairs.outcome, x) for weights in pairs.weights(draws, rng)])
    low, high = np.quantile(booted, (0.025, 0.975))
    extreme, share = 0, 0.0
    for outcomes in pairs.permuted(draws, rng):
        there = ~np.isnan(outcomes)
        share += there.mean(1).sum() / draws
        drawn = _correlations(there, np.where(there, outcomes, 0.0), x)
        extreme += (abs(drawn) >= abs(row.statistic) - 1e-12).sum()
    p = (1 + extreme) / (1 + draws) if share >= 0.5 else float("nan")
    return {
        "r": float(row.statistic), "row_low": float(row_low), "row_high": float(row_high), "row_p": float(row.pvalue),
        "low": float(low), "high": float(high), "p": float(p), "n": len(x), "languages": pairs.units,
        "detectable": detectable(pairs.units),
    }  # fmt: skip


def _correlations(weights: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(b,) weighted correlations. `weights`: (b, n). `y`: (n,) or (b, n). `x`: (n,)."""
    total = weights.sum(1)
    mean_x, mean_y = weights @ x / total, (weights * y).sum(1) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = (weights * y) @ x / total - mean_x * mean_y
        return covariance / np.sqrt(
            (weights @ x**2 / total - mean_x**2) * ((weights * y**2).sum(1) / total - mean_y**2)
        )


def _corrected(p: pl.Series, method: str) -> pl.Series:
    """p values corrected for their number; NaN stays, and counts for none."""
    values = p.to_numpy().copy()
    known = ~np.isnan(values)
    if known.any():
        values[known] = multipletests(values[known], method=method)[1]
    return pl.Series(p.name, values)
