"""Contrasts over pairs of languages: method against method, near against far, loss per share of what was edited.

Source sets are `analysis.diversity`'s, sentences `analysis.sentences`', volumes `analysis.curves`'. Estimates, their
bootstrap by language and (in `analysis.design`) the simulation of their power come from the same functions: given
weights of the pairs, they return one estimate a draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy.special import stdtr, stdtrit

from analysis.pairs import Pairs, required
from engine.errors import DataError

DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class Matched:
    """Pairs that have an outcome at every value of a column.

    `outcomes`: (n, values). `features`: (features, n, values). `left_out`: how many pairs lack one of these.
    """

    pairs: Pairs
    outcomes: np.ndarray
    features: np.ndarray
    values: tuple[str, ...]
    left_out: int


def paired(
    frame: pl.DataFrame, outcome: str, by: str, source: str = "source", target: str = "target", draws: int = DRAWS,
    random_state: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """Mean outcome at each value of `by` (method, setting, perturbation), and its differences to the first value.

    Differences are within pairs: those that lack a value of `by` are left out. Values stand in the order in which the
    table first has them. Returns the columns of `estimates`. Raises DataError as `matched`.
    """
    table = matched(frame, outcome, by, [], source, target)
    return estimates(table, lambda weights: mean(weights) @ table.outcomes, draws, random_state)


def degradation(
    frame: pl.DataFrame, outcome: str, distance: str, by: str, source: str = "source", target: str = "target",
    split: float | None = None, hold: str | None = None, draws: int = DRAWS, random_state: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """How an outcome changes with distance at each value of `by` (Q4), and how that differs from the first value.

    These differences are the interaction of distance and method. The estimate is the slope, outcome per unit of
    distance; with `split`, it is the mean of the pairs farther apart than that (distant) minus the mean of the others
    (related). `hold`: "target" compares only the sources of one target with each other, so that a target's own
    difficulty is held fixed ("source" likewise); without it, far targets that are hard for other reasons are in the
    estimate. Pairs of unknown distance are left out. Returns and raises as `paired`, and raises DataError where
    distances do not vary.
    """
    table = matched(frame, outcome, by, [distance], source, target)
    x = table.features[0, :, 0]
    x = x if split is None else (x > split).astype(float)
    if hold not in ("source", "target", None):
        raise DataError(f"hold={hold!r}: can be 'source' or 'target', or be left out.")
    groups = None if hold is None else getattr(table.pairs, hold)
    if not np.isfinite(slope(np.ones((1, len(x))), x, groups)).all():
        raise DataError(
            f"{distance}{'' if split is None else f' > {split:g}'} is the same in all {len(x)} pairs"
            f"{f' of each {hold}' if hold else ''}: there is no slope. Give pairs at several distances"
            f"{f', or leave hold={hold!r} out' if hold else ''}."
        )
    return estimates(table, lambda weights: slope(weights, x, groups) @ table.outcomes, draws, random_state, 2)


def relative_drop(
    frame: pl.DataFrame, outcome: str, distance: str, by: str, source: str = "source", target: str = "target",
    draws: int = DRAWS, random_state: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """The share of its nearest source's outcome that a target loses with its other sources, at each value of `by` (Q4).

    The mean over these pairs of 1 - outcome / outcome from the target's nearest source (several that are as near: their
    mean). Returns and raises as `paired`, and raises DataError where no target has sources at two distances.
    """
    table = matched(frame, outcome, by, [distance], source, target)
    pairs, far = table.pairs, table.features[0, :, 0]
    same = pairs.target[:, None] == pairs.target
    near = far == np.where(same, far, np.inf).min(axis=1)
    if near.all():
        raise DataError(f"no target has sources at two values of {distance}: none to compare with the nearest.")
    nearest = same & near
    base = nearest @ table.outcomes / nearest.sum(axis=1, keepdims=True)
    if not (base > 0).all():
        raise DataError(f"{outcome} from the nearest source of a target is {base.min():g}: no share of it can be lost.")
    drops = 1 - table.outcomes / base
    rest = replace(pairs, outcome=drops[~near, 0], source=pairs.source[~near], target=pairs.target[~near])
    table = replace(table, pairs=rest, outcomes=drops[~near])
    return estimates(table, lambda weights: mean(weights) @ table.outcomes, draws, random_state)


def robustness(
    frame: pl.DataFrame, change: str, exposure: str, by: str, source: str = "source", target: str = "target",
    draws: int = DRAWS, random_state: int = 0,
) -> pl.DataFrame:  # fmt: skip
    """The change of an outcome under a perturbation, per share of the test set edited, at each value of `by` (Q3).

    `change`: outcome after minus before. `exposure`: the share of entities (or words) that was edited. It differs by
    method or setting: one that loses little where little was edited is not therefore robust. The estimate is the sum of
    changes over the sum of exposures: what editing everything would cost, were the loss proportional. Returns and
    raises as `paired`, and raises DataError where nothing was edited.
    """
    table = matched(frame, change, by, [exposure], source, target)
    shares = table.features[0]
    if (shares < 0).any() or not (shares.sum(axis=0) > 0).all():
        raise DataError(f"{exposure} is below 0, or 0 in all pairs of one {by}: it must be the share that was edited.")
    return estimates(table, lambda weights: (weights @ table.outcomes) / (weights @ shares), draws, random_state)


def mean(weights: np.ndarray) -> np.ndarray:
    """The coefficients, (draws, n), of the weighted means of n outcomes."""
    return weights / weights.sum(axis=1, keepdims=True)


def slope(weights: np.ndarray, x: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """The coefficients, (draws, n), of the weighted least-squares slopes of n outcomes on `x`, (n,).

    `groups`, (n,) int: each group has its own intercept (Frisch & Waugh 1933). NaN where `x` does not vary.
    """
    groups = np.zeros(len(x)) if groups is None else groups
    own = (groups[:, None] == np.unique(groups)).astype(float)
    middle = ((weights * x) @ own) / (weights @ own)
    centered = x - middle @ own.T
    coefficients = weights * centered
    spread = coefficients @ x
    spread[spread <= 1e-12 * (weights @ x**2)] = np.nan  # what rounding leaves of no spread
    return coefficients / spread[:, None]


def estimates(
    table: Matched, statistic: Callable[[np.ndarray], np.ndarray], draws: int = DRAWS, random_state: int = 0,
    coefficients: int = 1,
) -> pl.DataFrame:  # fmt: skip
    """An estimate for each value, and for each later value minus the first: "student", "student - direct".

    `statistic`: weights, (draws, n) -> estimates, (draws, values). Columns: contrast, estimate, low, high (95%), p
    (two-sided, against zero), pairs, languages (`Pairs.units`), left_out. Interval and p are `interval`'s, from the
    same draws for all.
    """
    pairs, names = table.pairs, [*table.values, *(f"{value} - {table.values[0]}" for value in table.values[1:])]

    def with_differences(weights: np.ndarray) -> np.ndarray:
        values = statistic(weights)
        return np.hstack([values, values[:, 1:] - values[:, :1]])

    estimate = with_differences(np.ones((1, len(pairs.outcome))))[0]
    drawn = [with_differences(weights) for weights in pairs.weights(draws, np.random.default_rng(random_state))]
    low, high, p = interval(estimate, np.concatenate(drawn), pairs.units, coefficients)
    counts = {"pairs": len(pairs.outcome), "languages": pairs.units, "left_out": table.left_out}
    frame = pl.DataFrame({"contrast": names, "estimate": estimate, "low": low, "high": high, "p": p})
    return frame.with_columns(pl.lit(count).alias(name) for name, count in counts.items())


def interval(
    estimate: np.ndarray, drawn: np.ndarray, languages: int, coefficients: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper ends of 95% intervals, (m,), and two-sided p values against zero, from draws of (draws, m).

    The bootstrap gives the standard error, Student's t the quantile, with as many degrees of freedom as languages less
    coefficients (1 for a mean, 2 for a slope): percentiles of so few languages are too narrow (Hesterberg 2015, section
    4.4). Exponential weights spread a mean of n by sqrt((n - 1) / (n + 1)) of its standard error, so the mean of
    independent languages has its usual t interval. Where sources and targets cross, the products' variance is rather
    too large (Owen & Eckles 2012), but for a few sources, three say, that differ more than the targets do.
    """
    freedom = languages - coefficients
    error = drawn.std(axis=0) * np.sqrt((languages + 1) / freedom)
    half = -stdtrit(freedom, 0.025) * error
    return estimate - half, estimate + half, 2 * stdtr(freedom, -np.abs(estimate) / error)


def matched(
    frame: pl.DataFrame, outcome: str, by: str, features: Sequence[str], source: str = "source", target: str = "target"
) -> Matched:
    """Put the values of `by` side by side.

    Pairs that lack one of them, or of which a feature is unknown, are left out. Raises DataError as `Pairs.of`, also
    for two rows of one pair and value, and where no pair is left.
    """
    required(frame, [by])
    parts = frame.partition_by(by, maintain_order=True)
    wanted = (outcome, *features)
    table = pl.DataFrame()
    for number, part in enumerate(parts):
        held = Pairs.of(part, outcome, features, source, target)
        codes = np.array(held.languages)
        columns = dict(zip((f"{name} {number}" for name in wanted), (held.outcome, *held.features.T), strict=True))
        named = pl.DataFrame({"source": codes[held.source], "target": codes[held.target], **columns}).fill_nan(None)
        table = named.join(table, on=["source", "target"], how="full", coalesce=True) if number else named
    whole = table.drop_nulls().sort("source", "target")
    values = tuple(str(part[by][0]) for part in parts)
    if whole.is_empty():
        raise DataError(f"no pair has {' and '.join(wanted)} at each of {by}={', '.join(values)}.")
    numbers = [whole.select(f"{name} {number}" for number in range(len(parts))).to_numpy() for name in wanted]
    pairs = Pairs.of(whole, f"{outcome} 0", ())
    return Matched(pairs, numbers[0], np.array(numbers[1:]), values, len(table) - len(whole))

