"""Which blocks of features an outcome depends on: Shapley values of R2 over blocks, with intervals by language.

The value of a block is what it adds to R2, averaged over all orders in which the blocks can enter a linear regression (LMG:
Lindeman, Merenda & Gold 1980; as Shapley values: Lipovetsky & Conklin 2001; the general dominance of Azen & Budescu 2003).
The values of all blocks add up to R2. All 2^k regressions of a draw come from one matrix of cross-products, so that a
jackknife or a bootstrap is a matrix product and no refitting from the rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from math import comb

import numpy as np
import polars as pl
from scipy.special import stdtrit

from analysis.pairs import Pairs
from analysis.regress import check_predictors
from engine.errors import DataError

MOST_BLOCKS = 10  # 1,024 regressions a draw
_JITTER = 1e-9  # on correlations: a column that a draw makes collinear shares its part, instead of failing


def importance(
    frame: pl.DataFrame, outcome: str, blocks: Mapping[str, Sequence[str]], source: str = "source", target: str = "target",
    draws: int = 1_000, level: float = 0.95, random_state: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Share out R2 among `blocks`, which name columns of the table.

    An unknown value gets its column's mean and a one in a column of its own beside it, in the same block: the regression
    does not depend on the value then.

    Columns, one row per block and one, "all", for their sum:
    - block; columns, how many features it has.
    - r2: its share of the R2 in the sample. That grows with each column, the more the fewer languages there are.
    - low, high: the interval by language, of a jackknife (`_jackknife`). `low` is below 0 where the block may have no part.
    - row_low, row_high: quantiles of a bootstrap of rows, their mean brought to r2. Pairs share languages, so this is too
      narrow; by how much, it shows.
    - held_out: its share of the R2 for targets that were left out, 1 - SSE / SST, SST being about the training mean. Below
      0 where what the block says of the known targets misleads about a new one.

    Raises DataError as `Pairs.of`; for no block or more than 10, a feature in two blocks, one without any value or variation,
    and more predictors than languages (`analysis.regress.predictors`).
    """
    _check_blocks(frame, blocks)
    names = [column for columns in blocks.values() for column in columns]
    pairs = Pairs.of(frame, outcome, names, source, target)
    check_predictors(frame, names, source, target)
    values, owners = _columns(pairs, blocks)
    subsets = _subsets(len(blocks))
    shapley = _shapley(subsets)
    chosen = [np.isin(owners, np.flatnonzero(subset)) for subset in subsets]
    rng = np.random.default_rng(random_state)

    def shares(weights: Iterable[np.ndarray]) -> np.ndarray:
        found = np.concatenate([_r2(_moments(values, chunk), chosen) @ shapley.T for chunk in weights])
        return np.column_stack([found, found.sum(axis=1)])

    (estimate,) = shares([np.ones((1, len(values)))])
    low, high = _jackknife(estimate, shares([pairs.without().astype(float)]), pairs.units, level)
    drawn = shares(_by_row(len(values), draws, rng))
    row_low, row_high = np.quantile(drawn - drawn.mean(axis=0) + estimate, [(1 - level) / 2, (1 + level) / 2], axis=0)
    held = shapley @ _held_out_r2(values, pairs.target, chosen)
    return pl.DataFrame(
        {
            "block": [*blocks, "all"],
            "columns": [*map(len, blocks.values()), len(names)],
            "r2": estimate, "low": low, "high": high, "row_low": row_low, "row_high": row_high,
            "held_out": [*held, held.sum()],
        }
    )  # fmt: skip


def _jackknife(share: np.ndarray, without: np.ndarray, languages: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals of shares, (k,), from the shares without each language in turn, (languages, k).

    On the scale of Fisher's z of the share's root, as for a correlation (whose square the share of one lone feature is): near 0
    and 1 shares themselves are skewed. Student's t, with languages - 1 degrees of freedom. A share in the sample is too large,
    the more the more columns it has, and the jackknife (Efron & Tibshirani 1993, chapter 10) says about by how much: the
    interval reaches from below the one so corrected to above the one as it is.

    Chosen by measurement, of which `python -m benchmarks statistics` repeats a part: with 8 and 12 languages in both roles and
    10 x 20, blocks of 1 to 3 columns, of the pair's, the target's or the source's, with effects and without, 200 tables each, it
    covered the share among all languages in 90 to 99.5%. Quantiles of a bootstrap by language, which it has replaced, covered
    in 25 to 100%, Student's intervals on the shares' own scale in 88 to 100% and with half the power.
    """
    number = len(without)
    ends = np.array([_z(share), _z(number * share - (number - 1) * without.mean(axis=0))])
    half = -stdtrit(languages - 1, (1 - level) / 2) * np.sqrt((number - 1) * _z(without).var(axis=0))
    low, high = np.tanh(ends.min(axis=0) - half), np.tanh(ends.max(axis=0) + half)
    return np.sign(low) * low**2, high**2


def _z(share: np.ndarray) -> np.ndarray:
    return np.arctanh(np.sqrt(np.clip(share, 0, 1 - 1e-9)))


def _columns(pairs: Pairs, blocks: Mapping[str, Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 1 + columns + 1): ones, the features with their indicators of missing values, and the outcome, all standardized.

    And the block of each column, (1 + columns + 1,): -1 for the ones and the outcome.
    """
    owner = np.repeat(np.arange(len(blocks)), [len(columns) for columns in blocks.values()])
    missing = np.isnan(pairs.features)
    for column in np.flatnonzero(missing.all(axis=0)):
        raise DataError(f"feature {pairs.names[column]!r} has no value in any row. Leave it out.")
    filled = np.where(missing, np.nanmean(pairs.features, axis=0), pairs.features)
    for column in np.flatnonzero(np.ptp(filled, axis=0) == 0):
        raise DataError(f"feature {pairs.names[column]!r} is the same in all rows where it is known. Leave it out.")
    some = missing.any(axis=0)
    columns = np.column_stack([filled, missing[:, some].astype(float), pairs.outcome])
    columns = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    return np.column_stack([np.ones(len(columns)), columns]), np.concatenate([[-1], owner, owner[some], [-1]])


def _subsets(blocks: int) -> np.ndarray:
    """(2^k, k) bool; row i has block j where bit j of i is set."""
    return (np.arange(2**blocks)[:, None] >> np.arange(blocks) & 1).astype(bool)


def _shapley(subsets: np.ndarray) -> np.ndarray:
    """(k, 2^k): a game's values of all subsets times this are its Shapley values."""
    number = subsets.shape[1]
    size = subsets.sum(axis=1)
    joined = 1 / (number * np.array([comb(number - 1, max(n - 1, 0)) for n in size]))  # as the last of the subset
    left = 1 / (number * np.array([comb(number - 1, min(n, number - 1)) for n in size]))  # the subset without it
    return np.where(subsets.T, joined, -left)


def _moments(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(b, q, q): cross-products of the columns under each draw's weights, (b, n)."""
    width = values.shape[1]
    first, second = np.triu_indices(width)
    upper = weights @ (values[:, first] * values[:, second])
    moments = np.empty((len(weights), width, width))
    moments[:, first, second] = moments[:, second, first] = upper
    return moments


def _r2(moments: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """(b, subsets): R2 of the regression on each subset's columns, from (b, q, q) cross-products whose first column is 1."""
    mean = moments[:, 0] / moments[:, :1, 0]
    covariance = moments / moments[:, :1, :1] - mean[:, :, None] * mean[:, None]
    spread = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-12))
    correlation = covariance / (spread[:, :, None] * spread[:, None])
    result = np.zeros((len(moments), len(chosen)))
    for number, columns in enumerate(chosen):
        if columns.any():
            inner = correlation[:, columns][:, :, columns] + _JITTER * np.eye(columns.sum())
            outer = correlation[:, columns, -1]
            result[:, number] = (outer * np.linalg.solve(inner, outer[..., None])[..., 0]).sum(axis=1)
    return result


def _held_out_r2(values: np.ndarray, target: np.ndarray, chosen: Sequence[np.ndarray]) -> np.ndarray:
    """(subsets,): R2 of predictions for each target by a regression on the others' rows."""
    units = np.unique(target)
    own = _moments(values, (units[:, None] == target).astype(float))
    train = own.sum(axis=0) - own
    errors = []
    for columns in chosen:
        used = columns.copy()
        used[0] = True
        inner = train[:, used][:, :, used] + _JITTER * len(values) * np.eye(used.sum())
        slopes = np.linalg.solve(inner, train[:, used, -1][..., None])[..., 0]
        fitted = 2 * (slopes * own[:, used, -1]).sum(axis=1) - np.einsum("up,upq,uq->u", slopes, own[:, used][:, :, used], slopes)
        errors.append((own[:, -1, -1] - fitted).sum())
    return 1 - np.array(errors) / errors[0]


def _by_row(rows: int, draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    for _ in range(0, draws, 100):
        yield rng.standard_exponential((100, rows))


def _check_blocks(frame: pl.DataFrame, blocks: Mapping[str, Sequence[str]]) -> None:
    if not 0 < len(blocks) <= MOST_BLOCKS:
        raise DataError(f"{len(blocks)} blocks: name 1 to {MOST_BLOCKS}, for all their combinations are fitted. Join some.")
    for (one, first), (two, second) in combinations(blocks.items(), 2):
        if both := sorted(set(first) & set(second)):
            raise DataError(f"{', '.join(both)} stands in the blocks {one!r} and {two!r}: a column belongs to one block.")
