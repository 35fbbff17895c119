"""Correlations of an outcome of transfer with features of the pair, and whether so few languages carry them.

The form of Muller et al. 2022's Table 1, with what it lacks: intervals and tests by language, the correction for many
features, and the correlation that so many languages could show at all. Row-level figures stand beside the others, to
make plain how much too narrow they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.pairs import FEWEST, Pairs, count, own_roles

Transform = Callable[[np.ndarray], np.ndarray]

LEVEL, POWER = 0.95, 0.8
ENOUGH = 0.5  # of the permuted pairs, for a test
UNKNOWN = {
    "low": "without one of the languages it is the same in all pairs",
    "p": "under half of the permuted pairs exist",
}  # why a figure is null
METHODS: dict[str, Transform] = {"pearson": np.asarray, "spearman": lambda values: stats.rankdata(values, axis=0)}
SCHEMA = {
    "feature": pl.String, "method": pl.String,
    **dict.fromkeys(("r", "row_low", "row_high", "row_p", "low", "high", "boot_low", "boot_high"), pl.Float64),
    **dict.fromkeys(("p", "p_holm", "p_bh"), pl.Float64),
    "n": pl.Int64, "languages": pl.Int64, "detectable": pl.Float64, "note": pl.String,
}  # fmt: skip


def correlate(
    frame: pl.DataFrame,
    outcome: str,
    features: Sequence[str],
    source: str = "source",
    target: str = "target",
    draws: int = 10_000,
    random_state: int = 0,
) -> pl.DataFrame:
    """Return one row a method ("pearson", "spearman") and feature, in the order of `features`, with SCHEMA's columns.

    - `r`: over the `n` pairs whose feature is known. `row_low`, `row_high`, `row_p`: Fisher's interval and the test that
      take pairs for independent.
    - `low`, `high`: the 95% interval by language, of a jackknife (`_jackknife` says why). `boot_low`, `boot_high`:
      quantiles of a bootstrap by language (`Pairs.weights`), with the ranks as they are.
    - `p`: the permutation test by language (`Pairs.permuted`); null where under half of the permuted pairs exist.
      `p_holm`, `p_bh`: corrected for the features of the same method (Holm; Benjamini & Hochberg).
    - `languages`: those of the role that varies more, or of the one role that the feature varies with. `detectable`: the function of this name, for so many.
    - `note`: why figures are null, else "".

    Raises DataError as `Pairs.of`.
    """
    pairs = Pairs.of(frame, outcome, features, source, target)
    known = ~np.isnan(pairs.features)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for mask in np.unique(known, axis=1).T:  # features of the same pairs share their draws
        part = pairs.having(mask, np.flatnonzero((known.T == mask).all(axis=1)))
        for method, transform in METHODS.items():
            figures = _figures(part, transform, draws, np.random.default_rng(random_state))
            rows |= {(method, row["feature"]): {"method": method, **row} for row in figures}
    ordered = [[rows[method, name] for name in features] for method in METHODS]
    return pl.DataFrame([row for part in ordered for row in _corrected(part)], SCHEMA)


def detectable(languages: int) -> float:
    """The smallest |r| that a two-sided test at .05 finds in 80 of 100 tables of so many independent languages (over 3)."""
    return float(np.tanh((stats.norm.ppf(0.5 + LEVEL / 2) + stats.norm.ppf(POWER)) / np.sqrt(languages - 3)))


def _figures(pairs: Pairs, transform: Transform, draws: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The columns of each feature, by one method; all the pairs have all the features."""
    counts = {"n": len(pairs.outcome), "languages": pairs.units}
    if pairs.units < FEWEST or np.ptp(pairs.outcome) == 0:
        note = f"known for {pairs.units} languages" if pairs.units < FEWEST else "one outcome where it is known"
        return [{"feature": name, "note": note, **counts} for name in pairs.names]
    varies, own = np.ptp(pairs.features, axis=0) > 0, _languages(pairs)
    rows = [{"feature": pairs.names[i], "note": "the same in all pairs", **counts} for i in np.flatnonzero(~varies)]
    for i in np.flatnonzero(varies & (own < FEWEST)):
        note = f"it differs between {own[i]} languages, and fewer than {FEWEST} tell nothing of others"
        rows.append({"feature": pairs.names[i], "note": note, **counts, "languages": int(own[i])})
    varies &= own >= FEWEST
    if varies.any():
        part = pairs.having(np.full(len(pairs.outcome), True), np.flatnonzero(varies))
        found = _by_language(part, transform, draws, rng)
        for number, (name, languages) in enumerate(zip(part.names, own[varies].tolist(), strict=True)):
            figures = {key: None if np.isnan(values[number]) else float(values[number]) for key, values in found.items()}
            notes = [note for key, note in UNKNOWN.items() if figures[key] is None]
            counts |= {"languages": languages, "detectable": detectable(languages)}
            rows.append({"feature": name, "note": "; ".join(notes), **figures, **counts})
    return rows


def _languages(pairs: Pairs) -> np.ndarray:
    """Of each feature, (p,), the languages that it can differ between: of its own role, or of the role that varies more."""
    number = {"pair": pairs.units}
    for role in ("source", "target"):
        number[role] = count({pairs.languages[place] for place in getattr(pairs, role)})
    return np.array([number[role] for role in own_roles(pairs.features, pairs.source, pairs.target)])


def _by_language(pairs: Pairs, transform: Transform, draws: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Each figure, (p,) for the p features."""
    low, high = _jackknife(pairs, transform)
    x, y = _standard(transform(pairs.features)), _standard(transform(pairs.outcome))
    row = stats.pearsonr(x, y[:, None], axis=0)
    row_low, row_high = row.confidence_interval(LEVEL)
    moments = np.column_stack([np.ones_like(y), y, y**2, x, x**2, x * y[:, None]])
    booted = np.concatenate([_correlations(weights @ moments) for weights in pairs.weights(draws, rng)])
    boot_low, boot_high = np.quantile(booted, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    p = _permutation(replace(pairs, outcome=y), x, draws, rng)
    return {
        "r": row.statistic, "row_low": row_low, "row_high": row_high, "row_p": row.pvalue, "low": low, "high": high,
        "boot_low": boot_low, "boot_high": boot_high, "p": p,
    }  # fmt: skip


def _jackknife(pairs: Pairs, transform: Transform) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95% interval of Fisher's z, (p,) each, from leaving out each language with all its pairs.

    The squared changes of z add up to a variance in which the noise of a pair counts twice, once for either language;
    so the pairs' own part is taken off once, as Cameron, Gelbach & Miller 2011 do for two-way clusters and Aronow, Samii &
    Assenova 2015 for pairs whose languages have both roles. What is left is at least the pairs' own. The quantile is
    Student's, with fewer degrees of freedom the fewer languages carry the variance.

    Chosen by measurement, of which `python -m benchmarks statistics` repeats a part. In 168 kinds of tables of 10 to 60
    languages (in both roles or one; features of the pair, distances, properties of the target; no effects of languages to
    effects of six times the noise's variance), 1,000 tables each, it covered in 92.6 to 98.7%, above 98 only where the feature
    or the noise was the pair's own. Those by row covered in 22 to 96%; quantiles of the bootstrap, in 40 of the kinds, in 86
    to 100%.
    """
    whole = _fisher(transform(pairs.features), transform(pairs.outcome))
    without = pairs.without()
    changes = np.array([_fisher(transform(pairs.features[rows]), transform(pairs.outcome[rows])) for rows in without]) - whole
    x, y = _standard(transform(pairs.features)), _standard(transform(pairs.outcome))[:, None]
    r = np.tanh(whole)
    influence = (x * y - r * (x**2 + y**2) / 2) / (1 - r**2) / len(y)
    ends = np.sort(np.column_stack([pairs.source, pairs.target]), axis=1)
    _, first, places = np.unique(ends, axis=0, return_index=True, return_inverse=True)
    own = np.zeros((len(first), x.shape[1]))
    np.add.at(own, places, influence)  # both directions between two languages leave together
    often = (~without).sum(axis=0)[first, None]
    squares = changes**2
    variance = np.maximum(squares.sum(0) - ((often - 1) * own**2).sum(0), (own**2).sum(0))
    with np.errstate(invalid="ignore"):  # nothing changes where a feature is the outcome itself: no interval
        freedom = np.maximum(3 * squares.sum(0) ** 2 / (squares**2).sum(0) - 3, FEWEST)
    half = stats.t.ppf(0.5 + LEVEL / 2, freedom) * np.sqrt(variance)
    return np.tanh(whole - half), np.tanh(whole + half)


def _permutation(pairs: Pairs, x: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """p of the test that languages bear no relation to the outcome, (p,): the draws with as large an |r|, and the table."""
    columns = np.column_stack([np.ones(len(x)), x, x**2])
    observed = abs(stats.pearsonr(x, pairs.outcome[:, None], axis=0).statistic)
    extreme, there = np.zeros(x.shape[1]), 0
    for outcomes in pairs.permuted(draws, rng):
        known = ~np.isnan(outcomes)
        there += known.sum()
        if known.all():
            drawn = outcomes @ x / len(x)  # both are standardized, and stay so
        else:
            y, sums = np.where(known, outcomes, 0.0), known.astype(float) @ columns
            moments = np.column_stack([sums[:, 0], y.sum(1), np.einsum("bn,bn->b", y, y), sums[:, 1:], y @ x])
            drawn = _correlations(moments)
        extreme += (~(abs(drawn) < observed - 1e-12)).sum(axis=0)  # an undefined r speaks against
    p = (1 + extreme) / (1 + draws)
    return p if there >= ENOUGH * draws * len(x) else np.full_like(p, np.nan)


def _correlations(moments: np.ndarray) -> np.ndarray:
    """(b, p) from the sums of 1, y, y^2 and, for each of p features, x, x^2 and xy: (b, 3 + 3p)."""
    total, y, yy = moments[:, :3].T[:, :, None]
    x, xx, xy = np.split(moments[:, 3:], 3, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):  # a draw in which one pair has all the weight
        return (total * xy - x * y) / np.sqrt((total * xx - x**2) * (total * yy - y**2))


def _fisher(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Fisher's z, (p,), of the correlations of the columns of x with y; NaN where a column is constant."""
    varies = (np.ptp(x, axis=0) > 0) & (np.ptp(y) > 0)  # the mean of equal numbers is not always that number
    x, y = x - x.mean(axis=0), y - y.mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        r = y @ x / np.sqrt((x**2).sum(axis=0) * (y @ y))
    return np.where(varies, np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), np.nan)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(axis=0)) / values.std(axis=0)


def _corrected(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one method, with p corrected for as many tests as there were."""
    tested = [row for row in rows if row.get("p") is not None]
    for name, method in (("p_holm", "holm"), ("p_bh", "fdr_bh")) if tested else ():
        for row, value in zip(tested, multipletests([row["p"] for row in tested], method=method)[1], strict=True):
            row[name] = float(value)
    return rows
